#!/bin/sh
# Records the sessions that the page's screenshots show, with the real claude and codex against the scripted model and with
# agents that are shell scripts, in a machine of its own:
#
#   unshare -mu sh record.sh AGENTS DECKLOG SCRIPTED ARCHIVE
#
# AGENTS is the directory of the tests' agents in the user's cache, SCRIPTED the testkit's example of that name.
set -e
AG=$1; BIN=$2; SCR=$3; OUT=$4
hostname workshop
mount -t tmpfs none /srv
mkdir -p /srv/bin /srv/home/.config/decklog /srv/agents /srv/greeter
mount --bind "$AG" /srv/agents
cp "$BIN" /srv/bin/decklog; cp "$SCR" /srv/bin/scripted
export HOME=/srv/home PATH=/srv/bin:/srv/agents/node_modules/.bin:/usr/local/bin:/usr/bin:/bin TZ=UTC LANG=C.UTF-8 DECKLOG_TEST_AGENTS=/srv/agents/node_modules/.bin
unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME
ip link set lo up 2>/dev/null || true
export GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=ada@example.invalid GIT_COMMITTER_NAME=Ada GIT_COMMITTER_EMAIL=ada@example.invalid
cd /srv/greeter
git init -q --initial-branch=main .
printf '#!/bin/sh\necho "Hello, nobody!"\n' >greet.sh
mkdir -p src docs
cat >src/config.rs <<'R'
//! Where the greeting comes from.

use std::path::Path;

/// Reads the greeting from a file, or says hello.
pub fn greeting(path: &Path) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => "Hello".to_owned(),
    }
}
R
printf '# Greeter\n\nGreets people.\n' >docs/readme.md
git add .; git commit -qm 'A greeter'
cat >/srv/home/.config/decklog/config.toml <<'C'
[agents.ada]
command = ["sh", "/srv/home/ada.sh"]
protocol = "claude-stream"
[agents.bob]
command = ["sh", "/srv/home/bob.sh"]
protocol = "text"
[agents.limited]
command = ["sh", "/srv/home/limited.sh"]
protocol = "claude-stream"
C
cat >/srv/home/ada.sh <<'S'
cat >/dev/null
say() { printf '%s\n' "$1"; sleep 0.15; }
say '{"type":"system","subtype":"init","session_id":"s-1","model":"claude-opus-4"}'
say '{"type":"assistant","message":{"id":"1","content":[{"type":"thinking","thinking":"The greeting stands in a file. I should look at how it is read first, then at the tests."}]}}'
say '{"type":"assistant","message":{"id":"2","content":[{"type":"text","text":"I look at how the greeting is read."},{"type":"tool_use","id":"t1","name":"TodoWrite","input":{"todos":[{"content":"Read the code","status":"completed"},{"content":"Take the greeting from the environment","status":"in_progress"},{"content":"Run the tests","status":"pending"}]}}]}}'
say '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":"ok"}]}}'
say '{"type":"assistant","message":{"id":"3","content":[{"type":"tool_use","id":"t2","name":"Read","input":{"file_path":"src/config.rs"}}]}}'
say '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t2","content":"//! Where the greeting comes from.\n\nuse std::path::Path;\n\n/// Reads the greeting from a file, or says hello.\npub fn greeting(path: &Path) -> String {"}]}}'
python3 - <<'P'
p='src/config.rs'; s=open(p).read()
s=s.replace('''        Err(_) => "Hello".to_owned(),''','''        Err(_) => std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned()),''')
open(p,'w').write(s)
P
printf '# Greeter\n\nGreets people. `GREETING` says how.\n' >docs/readme.md
mkdir -p tests; seq 1 6 | sed 's/.*/#[test]\nfn greets_&() { assert!(greeter::greet("&").contains("&")); }\n/' >tests/greets.rs
say '{"type":"assistant","message":{"id":"4","content":[{"type":"tool_use","id":"t3","name":"Edit","input":{"file_path":"src/config.rs","old_string":"        Err(_) => \"Hello\".to_owned(),","new_string":"        Err(_) => std::env::var(\"GREETING\").unwrap_or_else(|_| \"Hello\".to_owned()),"}}]}}'
say '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t3","content":"The file was updated."}]}}'
say '{"type":"assistant","message":{"id":"5","content":[{"type":"tool_use","id":"t4","name":"Bash","input":{"command":"cargo test --quiet"}}]}}'
say '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t4","content":"\u001b[1mrunning 6 tests\u001b[0m\n......\ntest result: \u001b[32mok\u001b[0m. 6 passed; 0 failed; finished in 0.01s"}]}}'
say '{"type":"assistant","message":{"id":"6","content":[{"type":"tool_use","id":"t5","name":"Bash","input":{"command":"cargo clippy -- -D warnings"}}]}}'
say '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t5","is_error":true,"content":"Exit code 101\n\u001b[1m\u001b[31merror\u001b[0m: this function could be const\n  --> src/config.rs:6:1"}]}}'
say '{"type":"assistant","message":{"id":"7","content":[{"type":"text","text":"The greeting now comes from `GREETING` where the file is not there:\n\n```rust\nErr(_) => std::env::var(\"GREETING\").unwrap_or_else(|_| \"Hello\".to_owned()),\n```\n\n| case | greeting |\n|---|---|\n| file | what it says |\n| variable | what it says |\n| neither | Hello |\n\nTests pass; **clippy** has one remark that I left alone."}],"usage":{"input_tokens":5200,"output_tokens":640,"cache_read_input_tokens":3900}}}'
say '{"type":"result","subtype":"success","is_error":false,"result":"The greeting now comes from `GREETING`.","session_id":"s-1","total_cost_usd":0.184,"usage":{"input_tokens":5200,"output_tokens":640,"cache_read_input_tokens":3900}}'
S
cat >/srv/home/bob.sh <<'S'
cat >/dev/null
sleep 0.4
printf '#!/bin/sh\n# Greets whoever is named.\nfor name; do echo "Hello, $name!"; done\n' >greet.sh
echo "All names are greeted."
S
cat >/srv/home/limited.sh <<'S'
cat >/dev/null
printf '#!/bin/sh\necho "Hello, $1!"\n' >greet.sh
cat <<'END'
{"type":"system","subtype":"init","session_id":"s-2","model":"claude-opus-4"}
{"type":"assistant","message":{"id":"1","content":[{"type":"text","text":"I begin with the first name."}]}}
{"type":"rate_limit_event","rate_limit_info":{"resetsAt":4070908800}}
{"type":"assistant","error":"rate_limit","message":{"id":"3","content":[{"type":"text","text":"limit reached"}]}}
{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"limit reached","usage":{},"session_id":"s-2"}
END
exit 1
S
decklog run --check 'test -f tests/greets.rs' --check 'sh greet.sh Ada | grep -q Ada' ada 'Take the greeting from the environment where there is no file.

Keep the behaviour with a file as it is, and say so in the readme.' || true
git add -A; git commit -qm two
decklog run --then bob limited 'Greet all who are named.' || true
git add -A; git commit -qm three || true
git checkout -q HEAD~1 -- greet.sh; git commit -qam four || true
printf '#!/bin/sh\necho "Hello, nobody!"\n' >greet.sh; git commit -qam five || true
decklog race bob ada --check 'sh greet.sh Ada Bo | grep -q Bo' --pick best 'Greet all who are named.' || true
git add -A; git commit -qm six || true
printf '#!/bin/sh\necho "Hello, nobody!"\n' >greet.sh; git commit -qam seven || true
scripted claude,codex /srv/home loop >/srv/env.sh & SP=$!
while ! grep -q 'export' /srv/env.sh 2>/dev/null; do sleep 0.2; done; sleep 1
( . /srv/env.sh; decklog loop --actor claude --critic codex --check 'sh greet.sh Ada | grep -q Ada' 'greet.sh greets nobody. Fix it.' ) || true
kill $SP; git add -A; git commit -qm eight || true
scripted claude /srv/home >/srv/env2.sh & SP=$!
while ! grep -q 'export' /srv/env2.sh 2>/dev/null; do sleep 0.2; done; sleep 1
( . /srv/env2.sh; cd /srv/greeter; decklog run claude 'Write hello.'; claude -p 'write hello' --permission-mode acceptEdits; decklog import --all ) || true
kill $SP
decklog run -- sh -c 'printf "\033[1mcompiling\033[0m greeter\n\033[33mwarning\033[0m: unused import\n"; seq 1 40; echo "error: linking failed" >&2; exit 3' || true
timeout -s INT 1 decklog run -- sh -c 'echo working; sleep 30' || true
decklog ls
decklog export --format tar.zst --all -o "$OUT"
