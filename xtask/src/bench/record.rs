//! Recording a stream as fast as it comes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::Result;

use super::measure::{Bench, in_turn, time};
use super::report::Row;

const MIB: usize = 1024 * 1024;

/// `run -- cat FILE` against `cat FILE | cat > COPY` and `tee`.
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
    let [recorded, copied, teed] = in_turn(bench.size(5, 1), |which| {
        clear();
        match which {
            0 => time(&mut ours()),
            1 => time(&mut bench.sh("cat \"$1\" | cat >\"$2\"", &[&output, &copy])),
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
        Row::times(format!("{what} (against `tee`)"), recorded, ("`tee`", teed), 1.5),
        Row::memory(format!("{what}: peak memory"), memory, 32),
    ])
}

/// Lines as agents print them: JSON objects with ids, prose, code and tool output, each one different.
fn write_output(path: &Path, size: usize) -> Result<()> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut out = BufWriter::with_capacity(MIB, File::create(path)?);
    let (mut written, mut line) = (0, String::new());
    while written < size {
        line.clear();
        let (id, length) = (next(), 8 + next() % 150);
        let kind = ["assistant", "tool_use", "tool_result"][usize::try_from(id % 3)?];
        line.push_str(&format!("{{\"type\":\"{kind}\",\"uuid\":\"{id:016x}-{:08x}\",\"text\":\"", next() >> 32));
        for _ in 0..length {
            let pick = next();
            line.push_str(words[usize::try_from(pick % words.len() as u64)?]);
            line.push_str(if pick >> 60 == 0 { "\\n" } else { " " });
        }
        line.push_str(&format!("\",\"usage\":{{\"input_tokens\":{},\"output_tokens\":{length}}}}}\n", id % 100_000));
        out.write_all(line.as_bytes())?;
        written += line.len();
    }
    out.flush()?;
    Ok(())
}

const WORDS: &str = "the of a to in is it that for on with this file test function error returns value let mut fn \
    pub struct impl match Some None Ok Err self.path &str String Vec<u8> src/main.rs crates/core/src/lib.rs:142:9 \
    assert_eq!(left, right); cargo test --workspace git diff HEAD~1 --stat token tokens session_id \\\"command\\\" \
    \\\"file_path\\\" password secret_key authorization: API_KEY=$KEY sha256:9f86d081884c7d65 0x7ffd 2026-05-01T13:44:12Z \
    warning: unused variable `count` running 14 tests passed; failed; the the and we then read edit write search";
