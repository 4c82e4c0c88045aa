//! Counts the bytes that are held, so that a test can say how many reading a file took.
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn take(bytes: usize) {
    let held = HELD.fetch_add(bytes, Relaxed) + bytes;
    MOST.fetch_max(held, Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What `work` returns, and the most bytes that the process held meanwhile beyond those that it held before. The old block of one
/// that grows counts too. Only meaningful while nothing else runs.
pub fn most_held<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let result = work();
    (result, MOST.load(Relaxed).saturating_sub(before))
}

#[test]
fn growth_counts_and_what_is_freed_does_not() {
    let _alone = crate::alone();
    let ((), most) = most_held(|| {
        for _ in 0..3 {
            drop(std::hint::black_box(vec![0u8; 1 << 20]));
        }
        let mut grown = std::hint::black_box(vec![0u8; 1 << 20]);
        grown.reserve_exact(1 << 20);
        std::hint::black_box(grown);
    });
    // What the test runner's own threads free meanwhile counts against it.
    assert!(
        ((3 << 20) - (1 << 12)..(3 << 20) + (1 << 18)).contains(&most),
        "{most}"
    );
}
