use std::io::Write;

use super::faults::{Fault, with, with_free};
use super::*;

const FAULTS: [Fault; 3] = [Fault::NoSpace, Fault::Io, Fault::Short];

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// `work` with each fault at each of its operations, told how it ended; there must be some.
fn everywhere(
    work: impl Fn() -> Result<(), FileError>,
    check: impl Fn(Fault, Result<(), FileError>),
) {
    for fault in FAULTS {
        let mut count = 0;
        loop {
            let (result, has_struck) = with(fault, count + 1, "", &work);
            check(fault, result);
            if !has_struck {
                break;
            }
            count += 1;
        }
        assert!(count >= 3, "{fault:?}: {count} operations");
    }
}

#[test]
fn a_file_is_the_old_or_the_new_one_at_whatever_operation_the_disk_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let (old, new) = (vec![b'o'; 100], vec![b'n'; 3000]);
    type Writer = fn(&Path, &[u8]) -> Result<(), FileError>;
    let writers: [Writer; 2] = [write, |path, bytes| {
        write_with(path, |file| {
            bytes.chunks(7).try_for_each(|part| file.write_all(part))
        })
    }];
    for writer in writers {
        let work = || {
            fs::write(&path, &old).unwrap();
            writer(&path, &new)
        };
        everywhere(work, |fault, result| {
            let found = fs::read(&path).unwrap();
            assert!(
                found == if result.is_ok() { &new[..] } else { &old },
                "{fault:?}"
            );
            assert_eq!(names(dir.path()), ["state.json"], "{fault:?}");
            match (fault, result) {
                (Fault::Short, result) => result.unwrap(),
                (Fault::NoSpace, Err(FileError::NoSpace { path, needed, .. })) => {
                    assert!(path.ends_with("state.json"), "{}", path.display());
                    assert!(needed == 0 || needed == 3000, "{needed}");
                }
                (_, Err(error)) => {
                    assert!(error.to_string().contains("state.json"), "{error}");
                }
                (_, Ok(())) => {}
            }
        });
    }
}

#[test]
fn a_folder_is_the_old_or_the_new_one_at_whatever_operation_the_disk_fails() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("step-000007");
    let fill = |text: &'static str| {
        let folder = folder.clone();
        move || {
            write_folder(&folder, |part| {
                write_new(&part.join("state"), text.as_bytes())?;
                write_new(&part.join("manifest"), text.as_bytes())
            })
        }
    };
    for fault in FAULTS {
        for at in 1.. {
            fill("the old one")().unwrap();
            let (result, has_struck) = with(fault, at, "", fill("new"));
            recover_folder(&folder).unwrap();
            let state = fs::read_to_string(folder.join("state")).unwrap();
            let manifest = fs::read_to_string(folder.join("manifest")).unwrap();
            assert_eq!(state, manifest, "{fault:?} at {at}");
            assert!(result.is_err() || state == "new", "{fault:?} at {at}");
            assert!(fault != Fault::Short || result.is_ok());
            assert_eq!(names(dir.path()), ["step-000007"], "{fault:?} at {at}");
            if !has_struck {
                assert!(at > 10, "{at} operations");
                break;
            }
        }
    }
}

#[test]
fn a_folder_that_was_being_replaced_is_put_back_and_one_that_was_replaced_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let old = dir.path().join(".model.old");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("a"), "old").unwrap();
    recover_folder(&folder).unwrap();
    assert_eq!(names(dir.path()), ["model"]);
    fs::create_dir(&old).unwrap();
    recover_folder(&folder).unwrap();
    assert_eq!(names(dir.path()), ["model"]);
    assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "old");
}

#[test]
fn too_little_space_is_found_before_the_first_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("absent/state.json");
    let error = with_free(99, || write(&path, &[0; 100])).unwrap_err();
    let text = format!(
        "no space for `{}`: 100 bytes needed, 99 free (",
        path.display()
    );
    assert!(error.to_string().starts_with(&text), "{error}");
    assert!(names(dir.path()).is_empty());
    with_free(100, || check_space(&path, 100)).unwrap();
    check_space(&path, 1).unwrap();
    let error = check_space(&path, u64::MAX).unwrap_err();
    assert!(matches!(error, FileError::NoSpace { free: Some(free), .. } if free > 0));
}

#[test]
fn a_folder_in_the_way_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    write(&path, b"old").unwrap();
    fs::create_dir(dir.path().join(".state.json.part")).unwrap();
    assert!(write(&path, b"new").is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert!(write(&dir.path().join("absent/state.json"), b"new").is_err());
}

#[cfg(unix)]
#[test]
fn a_device_takes_the_content_itself() {
    write(Path::new("/dev/null"), &[0; 100]).unwrap();
    write_with(Path::new("/dev/null"), |file| file.write_all(&[0; 100])).unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}
