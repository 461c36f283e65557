use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt};

use rustix::fs::{self as unix, AtFlags, FileType, Mode};

use crate::folder::STRAY;

use super::*;

const ID: [u8; 32] = [0xab; 32];
const SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn file(folder: &Path, id: &[u8; 32]) -> PathBuf {
    folder.join(name(id))
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("authgear-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    folder
}

#[test]
fn what_is_saved_is_loaded_with_its_age() {
    let folder = folder("saved");
    assert!(load(&folder, &ID, SystemTime::now()).unwrap().is_none());
    save(&folder, &ID, b"older").unwrap();
    save(&folder, &ID, SET).unwrap();
    let later = SystemTime::now() + Duration::from_secs(3600);
    let saved = load(&folder, &ID, later).unwrap().unwrap();
    assert_eq!(saved.document, SET);
    assert!(saved.keys.has_kid("a"));
    assert!(saved.age >= Duration::from_secs(3599));
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names, [file(&folder, &ID)], "no draft is left behind");
    let mode = fs::metadata(&names[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_draft_of_a_writer_that_was_killed_is_removed_by_a_later_one() {
    let folder = folder("stray");
    let draft = |id: &[u8; 32], unique: u64| {
        let draft = file(&folder, id).with_extension(format!("{unique:x}.tmp"));
        fs::write(&draft, b"half").unwrap();
        draft
    };
    let old = |draft: PathBuf| {
        let file = OpenOptions::new().write(true).open(&draft).unwrap();
        file.set_modified(SystemTime::now() - STRAY - Duration::from_secs(60))
            .unwrap();
        draft
    };
    let (stray, current) = (old(draft(&ID, 1)), draft(&ID, 2));
    let of_another = old(draft(&[0xcd; 32], 1));
    save(&folder, &ID, SET).unwrap();
    assert!(!stray.exists());
    assert!(current.exists() && of_another.exists());
    assert_eq!(fs::read(file(&folder, &ID)).unwrap(), SET);
    fs::remove_dir_all(folder).unwrap();
}

/// Fails where a FIFO or a link in a file's place would make it wait or write elsewhere.
fn instead_of_the_file(folder: &Path, why: &str) {
    let error = load(folder, &ID, SystemTime::now()).unwrap_err();
    let expected = format!("cannot read \"{}\": {why}", file(folder, &ID).display());
    assert_eq!(error.to_string(), expected);
    save(folder, &ID, SET).unwrap();
    let saved = load(folder, &ID, SystemTime::now()).unwrap().unwrap();
    assert_eq!(saved.document, SET);
}

fn fifo(path: &Path) {
    let mode = Mode::RUSR | Mode::WUSR;
    unix::mknodat(unix::CWD, path, FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn a_fifo_in_place_of_the_file_is_an_error_and_is_replaced() {
    let folder = folder("fifo");
    fifo(&file(&folder, &ID));
    instead_of_the_file(&folder, "it is no regular file");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_link_in_place_of_the_file_is_not_followed_and_is_replaced() {
    let folder = folder("link");
    let target = folder.join("target");
    fs::write(&target, SET).unwrap();
    symlink(&target, file(&folder, &ID)).unwrap();
    instead_of_the_file(&folder, "it is a symbolic link");
    assert!(fs::symlink_metadata(file(&folder, &ID)).unwrap().is_file());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_stands_in_place_of_a_draft_is_neither_opened_nor_followed() {
    let folder = folder("draft");
    let target = folder.join("target");
    fs::write(&target, b"precious").unwrap();
    // As drafts of a lease are named, and as an earlier version named them.
    let drafts: Vec<_> = (0..10)
        .map(|unique| file(&folder, &ID).with_extension(format!("{unique:x}.tmp")))
        .collect();
    symlink(&target, &drafts[0]).unwrap();
    drafts[1..].iter().for_each(|draft| fifo(draft));
    save(&folder, &ID, SET).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(fs::read(file(&folder, &ID)).unwrap(), SET);
    // Once they are old they are removed by their own names.
    let old = unix::Timestamps {
        last_access: unix::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        },
        last_modification: unix::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        },
    };
    for draft in &drafts {
        unix::utimensat(unix::CWD, draft, &old, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    load(&folder, &ID, SystemTime::now()).unwrap().unwrap();
    assert!(drafts
        .iter()
        .all(|draft| fs::symlink_metadata(draft).is_err()));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_folder_that_others_can_write_is_refused_at_each_use() {
    let folder = folder("open");
    save(&folder, &ID, SET).unwrap();
    assert!(check_folder(&folder).is_ok());
    for mode in [0o1777, 0o770, 0o702, 0o2720] {
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let why = format!("others than its owner may write to it (mode {mode:04o})");
        assert_eq!(check_folder(&folder).unwrap_err().to_string(), why);
        assert_eq!(save(&folder, &ID, SET).unwrap_err().to_string(), why);
        let error = load(&folder, &ID, SystemTime::now()).unwrap_err();
        let expected = format!("cannot read \"{}\": {why}", folder.display());
        assert_eq!(error.to_string(), expected);
    }
    for mode in [0o700, 0o755] {
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        assert!(check_folder(&folder).is_ok());
        load(&folder, &ID, SystemTime::now()).unwrap().unwrap();
    }
    let path = file(&folder, &ID);
    fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
    instead_of_the_file(&folder, "others than its owner may write to it (mode 0620)");
    assert!(check_folder(&path)
        .unwrap_err()
        .to_string()
        .contains("no folder"));
    assert!(check_folder(&folder.join("absent")).is_ok());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder("owner");
    save(&folder, &ID, SET).unwrap();
    std::os::unix::fs::chown(file(&folder, &ID), Some(65534), None).unwrap();
    instead_of_the_file(&folder, "it belongs to the user 65534, not to 0");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_damaged_file_is_told_and_not_used() {
    let folder = folder("damaged");
    for content in [
        &b""[..],
        b"{\"keys\":[",
        b"{\"keys\":[]}",
        &[b' '; MAX_DOCUMENT + 1],
    ] {
        fs::write(file(&folder, &ID), content).unwrap();
        let error = load(&folder, &ID, SystemTime::now()).unwrap_err();
        assert!(matches!(error, LoadError::Parse { .. }), "{error}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    assert!(save(Path::new("/nonexistent/authgear"), &ID, SET).is_err());
}
