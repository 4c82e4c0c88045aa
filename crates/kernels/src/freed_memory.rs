//! Memory that was freed but is still counted as the process's.

/// Gives freed memory of the host back to the system.
///
/// glibc keeps what was freed between blocks that are still in use, for allocations to come: after weights of one type have
/// been replaced one by one with smaller ones, as much stays resident as the larger took. Other C libraries do not, or return
/// it by themselves; there this does nothing.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: declared as in glibc's `malloc.h`; it takes the allocator's locks and touches free blocks alone.
        unsafe { malloc_trim(0) };
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::return_freed_memory;

    fn resident_bytes() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    #[test]
    fn blocks_freed_between_others_leave_the_process() {
        const BLOCK: usize = 64 << 10;
        const BLOCKS: usize = 4096;
        let (freed, kept): (Vec<_>, Vec<_>) = (0..BLOCKS)
            .map(|_| (vec![1u8; BLOCK], vec![1u8; 4096]))
            .unzip();
        drop(freed);
        let before = resident_bytes();
        return_freed_memory();
        let after = resident_bytes();
        assert!(
            after + BLOCK * BLOCKS / 2 < before,
            "{before} bytes before, {after} after"
        );
        assert_eq!(kept.len(), BLOCKS);
    }
}
