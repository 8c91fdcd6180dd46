//! Recording a stream as fast as it comes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::Result;

use super::measure::{Bench, in_turn, time};
use super::report::Row;

const MIB: usize = 1024 * 1024;

/// `run -- cat FILE` against `cat FILE | cat > COPY`, the same until the disk has it, and `tee`.
pub(crate) fn record(bench: &Bench) -> Result<Vec<Row>> {
    let size = bench.size(1024, 4);
    let (output, copy, root) = (bench.path("output.jsonl"), bench.path("copy"), bench.path("record-root"));
    write_output(&output, size * MIB)?;
    let file = output.to_string_lossy();
    let ours = || bench.decklog(&root, &["run", "--", "cat", &file]);
    // Each begins with the same memory and disk free, and with nothing left to write.
    let clear = || {
        let _ = std::fs::remove_dir_all(&root);
        let _ = std::fs::remove_file(&copy);
        nix::unistd::sync();
    };
    let [recorded, copied, synced, teed] = in_turn(bench.size(5, 1), |which| {
        clear();
        match which {
            0 => time(&mut ours()),
            1 => time(&mut bench.sh("cat \"$1\" | cat >\"$2\"", &[&output, &copy])),
            2 => time(&mut bench.sh("cat \"$1\" | cat >\"$2\"; sync -d \"$2\"", &[&output, &copy])),
            _ => time(&mut bench.sh("cat \"$1\" | tee \"$2\" >/dev/null", &[&output, &copy])),
        }
    })?;
    clear();
    let memory = bench.peak(&ours())?;
    clear();
    std::fs::remove_file(&output)?;
    let what = format!("record {size} MiB of agent output");
    Ok(vec![
        Row::times(&what, recorded, ("`cat >file`", copied), 1.5),
        // A recording is waited for, too.
        Row::times(
            format!("{what} (against what waits for the disk)"),
            recorded,
            ("`cat >file; sync file`", synced),
            1.5,
        ),
        Row::times(format!("{what} (against `tee`)"), recorded, ("`tee`", teed), 1.5),
        Row::memory(format!("{what}: peak memory"), memory, 32),
    ])
}

/// What agents print: lines that real ones printed, and results of tools that read this project's sources, in an order
/// that never repeats.
fn write_output(path: &Path, size: usize) -> Result<()> {
    let (said, sources) =
        (files_below("crates/decklog-run/tests/streams", ".out.jsonl")?, files_below("crates", ".rs")?);
    let said: Vec<&str> = said.iter().flat_map(|text| text.lines()).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |limit: usize| -> Result<usize> {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        Ok(usize::try_from(random % u64::try_from(limit.max(1))?)?)
    };
    let mut out = BufWriter::with_capacity(MIB, File::create(path)?);
    let mut written = 0;
    while written < size {
        let source = &sources[below(sources.len())?];
        let lines: Vec<&str> = source.lines().collect();
        let first = below(lines.len())?;
        let excerpt = lines[first..lines.len().min(first + 1 + below(100)?)].join("\n");
        let result =
            serde_json::json!({ "type": "tool_result", "tool_use_id": written.to_string(), "content": excerpt });
        for line in [&result.to_string(), said[below(said.len())?], said[below(said.len())?]] {
            out.write_all(line.as_bytes())?;
            out.write_all(b"\n")?;
            written += line.len() + 1;
        }
    }
    out.flush()?;
    Ok(())
}

/// The texts of the files below a directory of this project whose names end so.
fn files_below(dir: &str, ending: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut dirs = vec![crate::root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                texts.push(std::fs::read_to_string(path)?);
            }
        }
    }
    texts.sort();
    Ok(texts)
}
