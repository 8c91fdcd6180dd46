//! Sessions in an archive and back, and archives that nobody packed.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use decklog_journal::artifacts::TurnFile;
use decklog_journal::event::{SessionEnd, TurnEnd};
use decklog_journal::portable::{Arrived, Limits, MANIFEST, PortableError, contents, pack, unpack};
use decklog_journal::verify::verify;
use decklog_journal::words::Outcome;
use decklog_journal::{SessionId, wire};
use serde_json::{Value, json};

use crate::world::{World, message, turn_start};

/// A whole session with artifacts and an object.
fn session(world: &World, suffix: u16) -> SessionId {
    let mut writer = world.create(suffix);
    writer.append(turn_start(1)).unwrap();
    writer.append(message(1, &"long ".repeat(20_000))).unwrap();
    let patch_artifact = Some(writer.write_artifact(&TurnFile::Patch.path(1), b"patch").unwrap());
    let end: TurnEnd = serde_json::from_value(json!({
        "turn": 1, "outcome": "success", "duration_secs": 1.0, "files_changed": 0, "patch_artifact": patch_artifact,
    }))
    .unwrap();
    writer.append(end).unwrap();
    let end = SessionEnd {
        outcome: Some(Outcome::Success),
        iterations: None,
        summary: None,
        confidence: None,
        picked: None,
        duration_secs: 1.0,
        exit_code: Some(0),
    };
    writer.append(end).unwrap();
    let objects = writer.dir().join("objects/ab");
    std::fs::create_dir_all(&objects).unwrap();
    std::fs::write(objects.join("c".repeat(38)), "object").unwrap();
    writer.id().clone()
}

fn packed(world: &World, ids: &[SessionId]) -> Vec<u8> {
    let sessions: Vec<_> = ids.iter().map(|id| (id.clone(), world.store.entry(id))).collect();
    let mut archive = Vec::new();
    pack(&sessions, &mut archive).unwrap();
    archive
}

fn unpacked(world: &World, archive: &[u8]) -> Result<Vec<(SessionId, Arrived)>, PortableError> {
    let unpacked = unpack(&world.store, archive, Limits::default())?;
    Ok(unpacked.into_iter().map(|session| (session.id, session.arrived)).collect())
}

/// Every file with its content, but for locks and what marks a session that was unpacked.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(here) = pending.pop() {
        for entry in std::fs::read_dir(&here).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if !["lock", ".unpacked"].map(std::ffi::OsStr::new).contains(&path.file_name().unwrap()) {
                let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_round_trip_gives_equal_records() {
    let (from, to) = (World::new(), World::new());
    let ids = [session(&from, 1), session(&from, 2), from.crashed(3, &["a word"]).0];
    // A line that a crash has cut off stays so.
    let journal = from.store.entry(&ids[2]).join("journal.jsonl");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.extend(b"{\"seq\":");
    std::fs::write(&journal, bytes).unwrap();
    let archive = packed(&from, &ids);
    assert_eq!(archive, packed(&from, &[ids[2].clone(), ids[0].clone(), ids[1].clone()]), "order means nothing");
    let arrived = unpack(&to.store, archive.as_slice(), Limits::default()).unwrap();
    assert_eq!(arrived.iter().map(|session| session.faults).collect::<Vec<_>>(), [0, 0, 1]);
    let equal: BTreeMap<_, _> =
        files(from.store.root()).into_iter().filter(|(path, _)| !path.ends_with(".reserve")).collect();
    assert_eq!(files(to.store.root()), equal);
    for id in &ids {
        assert_eq!(verify(&to.store.entry(id)), verify(&from.store.entry(id)));
    }
    assert_eq!(packed(&to, &ids), archive);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let dir = to.store.entry(&ids[0]);
    assert!(ids.iter().all(|id| to.store.entry(id).join(".unpacked").is_file()));
    assert_eq!((mode(&dir), mode(&dir.join("turns")), mode(&dir.join("journal.jsonl"))), (0o700, 0o700, 0o600));
    // Again: all are there.
    let again = unpacked(&to, &archive).unwrap();
    assert!(again.iter().all(|(_, arrived)| *arrived == Arrived::AlreadyThere), "{again:?}");
    assert_eq!(files(to.store.root()), equal);
    // Another session of the same id is never touched.
    std::fs::remove_dir_all(to.store.entry(&ids[1])).unwrap();
    std::fs::remove_dir_all(to.store.entry(&ids[0])).unwrap();
    to.crashed(2, &["another"]);
    let before = files(to.store.root());
    assert!(matches!(unpacked(&to, &archive), Err(PortableError::Other(id)) if id == ids[1]));
    assert_eq!(files(to.store.root()), before);
}

#[test]
fn only_what_is_decklogs_is_packed() {
    let world = World::new();
    let id = session(&world, 1);
    let dir = world.store.entry(&id);
    let clean = packed(&world, std::slice::from_ref(&id));
    std::fs::write(dir.join("notes.txt"), "the user's").unwrap();
    std::fs::write(dir.join("turns/passwords"), "the user's").unwrap();
    std::fs::write(dir.join("turns/001-stream.jsonl.zst.part"), "half").unwrap();
    symlink("/etc/passwd", dir.join("turns/002-prompt.md")).unwrap();
    symlink("/etc", dir.join("logs")).unwrap();
    std::fs::create_dir_all(dir.join("objects/scratch-1")).unwrap();
    std::fs::write(dir.join("objects/scratch-1/index"), "x").unwrap();
    assert_eq!(packed(&world, std::slice::from_ref(&id)), clean);
    let writer = world.create(9);
    let live = [(writer.id().clone(), writer.dir().to_owned())];
    assert!(matches!(pack(&live, Vec::new()), Err(PortableError::Live(_))));
}

/// An archive of these files, with this manifest.
fn archive(manifest: &Value, entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    let manifest = serde_json::to_vec(manifest).unwrap();
    let mut all: Vec<(&str, tar::EntryType, &[u8])> = vec![(MANIFEST, tar::EntryType::Regular, &manifest)];
    all.extend(entries);
    for (path, kind, content) in all {
        let mut header = tar::Header::new_ustar();
        // By hand: the library would not write what a hostile archive holds.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o4777);
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn sha(bytes: &[u8]) -> String {
    wire::sha256_hex(bytes)
}

#[test]
fn hostile_archives_change_nothing() {
    let from = World::new();
    let id = session(&from, 1);
    let dir = from.store.entry(&id);
    let journal = std::fs::read(dir.join("journal.jsonl")).unwrap();
    let own = |path: &str| format!("{id}/{path}");
    let journal_path = own("journal.jsonl");
    let listed = |path: &str, content: &[u8]| json!({ "path": path, "bytes": content.len(), "sha256": sha(content) });
    let manifest =
        |files: Vec<Value>| json!({ "archive": 1, "sessions": [{ "id": id, "verified": false, "files": files }] });
    let good = || manifest(vec![listed("journal.jsonl", &journal)]);
    let file = tar::EntryType::Regular;
    let world = World::new();
    // The journal alone is a session, if not a whole one.
    let whole = archive(&good(), &[(&journal_path, file, &journal)]);
    assert_eq!(unpacked(&world, &whole).unwrap(), [(id.clone(), Arrived::New)]);

    let both = |path: &str| manifest(vec![listed("journal.jsonl", &journal), listed(path, b"x")]);
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for path in [
        "../x",
        "/etc/x",
        "turns/../../x",
        "turns/001-prompt.md/../../../x",
        "lock",
        ".reserve",
        "",
        "turns",
        "turns/",
        "turns//001-prompt.md",
        "./session.json",
        "objects/../journal.jsonl",
        "objects/ab/x",
        "objects/pack/pack-1.idx",
        "objects/ab/../../x",
        "turns/001-prompt.md\0",
        "logs/../x.stderr",
        "resume/001-x/y.md",
        "elsewhere/x",
    ] {
        let name = own(path);
        cases.push((
            format!("listed as {path:?}"),
            archive(&both(path), &[(&journal_path, file, &journal), (&name, file, b"x")]),
        ));
        if path.contains('\0') {
            continue;
        }
        // Named in the archive alone.
        let entries = [(journal_path.as_str(), file, journal.as_slice()), (name.as_str(), file, b"x".as_slice())];
        cases.push((format!("as {path:?}"), archive(&both("turns/001-prompt.md"), &entries)));
    }
    let prompt = own("turns/001-prompt.md");
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Char,
        tar::EntryType::Fifo,
        tar::EntryType::Directory,
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
        tar::EntryType::GNUSparse,
    ] {
        let entries = [(journal_path.as_str(), file, journal.as_slice()), (prompt.as_str(), kind, b"x".as_slice())];
        cases.push((format!("{kind:?}"), archive(&both("turns/001-prompt.md"), &entries)));
    }
    let twice = manifest(vec![listed("journal.jsonl", &journal), listed("journal.jsonl", &journal)]);
    let two = [(journal_path.as_str(), file, journal.as_slice()), (journal_path.as_str(), file, journal.as_slice())];
    cases.push(("a file twice".into(), archive(&twice, &two)));
    cases.push(("more than listed".into(), archive(&good(), &two)));
    let session_twice = json!({ "archive": 1, "sessions": [good()["sessions"][0], good()["sessions"][0]] });
    cases.push(("a session twice".into(), archive(&session_twice, &two)));
    cases.push(("less than listed".into(), archive(&both("turns/001-prompt.md"), &two[..1])));
    cases.push((
        "no journal".into(),
        archive(&manifest(vec![listed("session.json", b"{}")]), &[(&own("session.json"), file, b"{}")]),
    ));
    let mut altered = journal.clone();
    altered[300] ^= 1;
    cases.push(("altered on the way".into(), archive(&good(), &[(&journal_path, file, &altered)])));
    let mut said_whole = manifest(vec![listed("journal.jsonl", &altered)]);
    said_whole["sessions"][0]["verified"] = true.into();
    cases.push(("altered before".into(), archive(&said_whole, &[(&journal_path, file, &altered)])));
    cases.push(("longer".into(), archive(&good(), &[(&journal_path, file, &[&journal[..], b"x"].concat())])));
    let mut renamed = good();
    renamed["sessions"][0]["id"] = "20200101T000000-0000".into();
    cases.push(("another id".into(), archive(&renamed, &[("20200101T000000-0000/journal.jsonl", file, &journal)])));
    renamed["sessions"][0]["id"] = "../../x".into();
    cases.push(("no id".into(), archive(&renamed, &[("../../x/journal.jsonl", file, &journal)])));
    let mut huge = good();
    huge["sessions"][0]["files"][0]["bytes"] = u64::MAX.into();
    cases.push(("a bomb".into(), archive(&huge, &[(&journal_path, file, &journal)])));
    cases.push(("not JSON".into(), archive(&json!("x"), &[])));
    cases.push(("a newer one".into(), archive(&json!({ "archive": 2, "sessions": [] }), &[])));
    cases.push(("no archive".into(), b"hello".to_vec()));
    cases.push(("nothing".into(), Vec::new()));
    let real = packed(&from, std::slice::from_ref(&id));
    for length in (0..real.len()).step_by(real.len() / 40) {
        cases.push((format!("cut off at {length}"), real[..length].to_vec()));
        let mut flipped = real.clone();
        flipped[length] ^= 0x10;
        let world = World::new();
        match unpacked(&world, &flipped) {
            Err(_) => assert!(files(world.store.root()).is_empty(), "flipped at {length}"),
            // Compressed data have a few bits that say nothing.
            Ok(_) => assert_eq!(files(world.store.root()), files(from.store.root()), "flipped at {length}"),
        }
    }
    for (case, archive) in cases {
        let world = World::new();
        let result = unpacked(&world, &archive);
        assert!(result.is_err(), "{case}: {result:?}");
        assert!(files(world.store.root()).is_empty(), "{case}");
        assert!(
            std::fs::read_dir(world.store.root()).is_ok_and(|mut entries| entries.next().is_none())
                || !world.store.root().exists(),
            "{case}"
        );
        assert!(!world.beside("x").exists(), "{case}");
    }
}

#[test]
fn limits_are_kept_before_anything_is_written() {
    let from = World::new();
    let id = session(&from, 1);
    let archive = packed(&from, std::slice::from_ref(&id));
    let world = World::new();
    for limits in [Limits { bytes: 1000, ..Limits::default() }, Limits { manifest: 10, ..Limits::default() }] {
        let error = unpack(&world.store, archive.as_slice(), limits).unwrap_err();
        assert!(matches!(error, PortableError::Archive(_) | PortableError::Limit(_)), "{error}");
        assert!(!world.store.root().exists());
    }
}

#[test]
fn little_that_stands_for_much_is_refused_before_it_is_written() {
    let from = World::new();
    let id = session(&from, 1);
    let journal = std::fs::read(from.store.entry(&id).join("journal.jsonl")).unwrap();
    let (journal_path, prompt_path) = (format!("{id}/journal.jsonl"), format!("{id}/turns/001-prompt.md"));
    let zeros = vec![0; 100 << 20];
    let listed = |path: &str, bytes: usize, sha256: String| json!({ "path": path, "bytes": bytes, "sha256": sha256 });
    let files = [
        listed("journal.jsonl", journal.len(), sha(&journal)),
        listed("turns/001-prompt.md", zeros.len(), sha(&zeros)),
    ];
    let manifest = json!({ "archive": 1, "sessions": [{ "id": id, "verified": false, "files": files }] });
    let file = tar::EntryType::Regular;
    let bomb = archive(&manifest, &[(&journal_path, file, &journal), (&prompt_path, file, &zeros)]);
    assert!(bomb.len() < 200_000);
    let length = Some(bomb.len() as u64);
    for limits in [
        // Known from the manifest, or, for an archive of unknown length, while it is unpacked.
        Limits { packed: length, ..Limits::default() },
        Limits::default(),
        Limits { bytes: 90 << 20, ratio: u64::MAX, ..Limits::default() },
    ] {
        let world = World::new();
        let error = unpack(&world.store, bomb.as_slice(), limits).unwrap_err();
        assert!(matches!(error, PortableError::Limit(_)), "{error}");
        assert!(files_under(&world).is_empty());
    }
    assert!(contents(bomb.as_slice(), Limits { packed: length, ..Limits::default() }).is_err());
    let world = World::new();
    let raised = unpack(&world.store, bomb.as_slice(), Limits { packed: length, ratio: 1 << 20, ..Limits::default() });
    assert_eq!(raised.unwrap()[0].id, id);

    // A list of files that is long and says nothing.
    let mut long = manifest.clone();
    long["sessions"][0]["more"] = " ".repeat(100 << 20).into();
    let long = archive(&long, &[(&journal_path, file, &journal), (&prompt_path, file, &zeros)]);
    let error = contents(long.as_slice(), Limits::default()).unwrap_err();
    assert!(matches!(error, PortableError::Limit(_)), "{error}");
}

fn files_under(world: &World) -> BTreeMap<String, Vec<u8>> {
    files(world.store.root())
}

#[test]
fn what_is_compressed_in_an_archive_counts_as_what_it_expands_to() {
    let zeros = vec![0; 70 << 20];
    let packed_zeros = zstd::encode_all(zeros.as_slice(), 1).unwrap();
    // How many bytes the journal says that it holds.
    for (said, is_taken, faults) in [(70_u64 << 20, false, 0), (u64::MAX, false, 0), (1000, true, 1)] {
        let from = World::new();
        let mut writer = from.create(1);
        writer.append(turn_start(1)).unwrap();
        let stream = json!({ "path": "turns/001-stream.jsonl", "bytes": said });
        let end: TurnEnd = serde_json::from_value(json!({
            "turn": 1, "outcome": "success", "duration_secs": 1.0, "files_changed": 0, "stream_artifact": stream,
        }))
        .unwrap();
        writer.append(end).unwrap();
        let (id, dir) = (writer.id().clone(), writer.dir().to_owned());
        drop(writer);
        std::fs::create_dir_all(dir.join("turns")).unwrap();
        std::fs::write(dir.join("turns/001-stream.jsonl.zst"), &packed_zeros).unwrap();
        let archive = packed(&from, std::slice::from_ref(&id));
        let world = World::new();
        let result = unpack(&world.store, archive.as_slice(), Limits::default());
        match result {
            Ok(unpacked) => assert_eq!((is_taken, unpacked[0].faults), (true, faults), "{said}"),
            Err(error) => {
                assert!(!is_taken && matches!(error, PortableError::Limit(_)), "{said}: {error}");
                assert!(files_under(&world).is_empty());
            }
        }
        if said == 70 << 20 {
            let raised = Limits { ratio: 1 << 20, ..Limits::default() };
            assert_eq!(unpack(&world.store, archive.as_slice(), raised).unwrap()[0].faults, 0);
        }
    }
}

#[test]
fn what_is_compressed_is_read_up_to_what_is_recorded() {
    use decklog_journal::verify::find_artifact;
    use std::io::Read as _;
    let world = World::new();
    let dir = world.beside("session");
    std::fs::create_dir_all(dir.join("turns")).unwrap();
    let text = vec![7; 300_000];
    std::fs::write(dir.join("turns/001-stream.jsonl.zst"), zstd::encode_all(text.as_slice(), 1).unwrap()).unwrap();
    for (recorded, is_whole) in [(None, true), (Some(300_000), true), (Some(299_999), false), (Some(0), false)] {
        let mut bytes = Vec::new();
        let content = find_artifact(&dir, "turns/001-stream.jsonl").unwrap().content(recorded);
        let read = content.unwrap().read_to_end(&mut bytes);
        assert_eq!(read.is_ok(), is_whole, "{recorded:?}");
        assert_eq!(bytes.len() as u64, recorded.unwrap_or(300_000).min(300_000));
    }
}
