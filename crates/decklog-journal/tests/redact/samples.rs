//! What each rule finds, and what it leaves alone.
//!
//! No token stands here as one literal: scanners of code hosts would take it for a leaked one.

use std::collections::HashMap;

/// Letters and digits that look random and are always the same.
pub(crate) fn random(n: usize, alphabet: &str) -> String {
    let alphabet = alphabet.as_bytes();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ n as u64;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(alphabet[(state >> 33) as usize % alphabet.len()])
        })
        .collect()
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &str = "0123456789abcdef";
const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const B64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn word(n: usize) -> String {
    random(n, WORD)
}

pub(crate) fn hex(n: usize) -> String {
    random(n, HEX)
}

/// Lines of 64 base64 characters and a shorter last one, joined by `joint`.
pub(crate) fn body(lines: usize, joint: &str) -> String {
    let mut all = vec![random(64, B64); lines];
    all.push(format!("{}==", random(22, B64)));
    all.join(joint)
}

/// Rule id → texts with one secret, written as `before|secret|after`; the secret is what must vanish.
pub(crate) fn positive() -> Vec<(&'static str, Vec<String>)> {
    let jwt = format!("eyJ{}.eyJ{}.{}", word(33), word(70), word(43));
    let discord = format!("M{}.{}.{}", word(25), word(6), word(38));
    vec![
        ("anthropic-key", vec![format!("|sk-ant-api03-{}AA|", word(93)), format!("X=|sk-ant-oat01-{}|\n", word(90))]),
        (
            "openai-key",
            vec![
                format!("|sk-proj-{}|", word(120)),
                format!("|sk-svcacct-{}|", word(60)),
                format!("|sk-admin-{}|", word(60)),
            ],
        ),
        ("openai-legacy-key", vec![format!("key: |sk-{}T3Blbk{}{}|", word(20), "FJ", word(20))]),
        ("sk-key", vec![format!(r#"{{"k":"|sk-{}|"}}"#, hex(32)), format!("\\n|sk-{}|", word(48))]),
        ("openrouter-key", vec![format!("|sk-or-v1-{}|", hex(64))]),
        ("google-api-key", vec![format!("key=|AIza{}|&x", word(35)), format!("|AQ.Ab{}|", word(48))]),
        ("groq-key", vec![format!("|gsk_{}|", word(52))]),
        ("xai-key", vec![format!("|xai-{}|", word(80))]),
        ("perplexity-key", vec![format!("|pplx-{}|", word(48))]),
        ("replicate-token", vec![format!("|r8_{}|", word(37))]),
        ("huggingface-token", vec![format!("|hf_{}|", word(34))]),
        ("nvidia-key", vec![format!("|nvapi-{}|", word(64))]),
        ("github-token", ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"].map(|p| format!("x|{p}{}| y", word(36))).to_vec()),
        ("github-pat", vec![format!("|github_pat_{}_{}|", word(22), word(59))]),
        ("gitlab-token", vec![format!("|glpat-{}|", word(20)), format!("|glrt-{}.01.{}|", word(27), word(9))]),
        ("atlassian-token", vec![format!("|ATATT3{}={}|", word(180), hex(8))]),
        ("npm-token", vec![format!("_authToken=|npm_{}|", word(36))]),
        ("pypi-token", vec![format!("|pypi-AgE{}|", word(150))]),
        ("crates-io-token", vec![format!("token = \"|cio{}|\"", word(32))]),
        ("rubygems-token", vec![format!("|rubygems_{}|", hex(48))]),
        ("docker-token", vec![format!("|dckr_pat_{}|", word(27))]),
        (
            "azure-devops-token",
            vec![format!("pat |{}AZDO{}|", word(76), word(4)), format!("https://|{}AZDO{}| x", word(76), word(4))],
        ),
        ("aws-access-key-id", vec![format!("|AKIA{}|", random(16, UPPER)), format!("\"|ASIA{}|\"", random(16, UPPER))]),
        (
            "aws-secret-key",
            vec![
                format!("aws_secret_access_key = |{}|", random(40, B64)),
                format!("AWS_SECRET_ACCESS_KEY=|{}|\n", random(40, B64)),
                format!(r#"{{"SecretAccessKey": "|{}|"}}"#, random(40, B64)),
                format!(r#"{{\"secretAccessKey\":\"|{}|\"}}"#, random(40, B64)),
                format!("<SecretAccessKey>|{}|</SecretAccessKey>", random(40, B64)),
            ],
        ),
        ("aws-session-token", vec![format!("|IQoJb3JpZ2lu{}|", random(300, B64))]),
        ("aws-bedrock-key", vec![format!("|ABSK{}=|", random(128, B64))]),
        ("azure-storage-key", vec![format!("AccountName=x;AccountKey=|{}==|;Endpoint", random(86, B64))]),
        ("azure-client-secret", vec![format!("{}|8Q~{}|", word(3), word(34)), format!("{}|7Q~{}|", word(3), word(31))]),
        (
            "google-oauth-token",
            vec![format!("|ya29.{}|", word(100)), format!("|GOCSPX-{}|", word(28)), format!("|1//0{}|", word(60))],
        ),
        ("digitalocean-token", vec![format!("|dop_v1_{}|", hex(64))]),
        ("databricks-token", vec![format!("|dapi{}|", hex(32))]),
        ("cloudflare-origin-key", vec![format!("|v1.0-{}-{}|", hex(24), hex(146))]),
        ("fly-token", vec![format!("|FlyV1 fm2_{}|", random(200, B64))]),
        ("vault-token", vec![format!("|hvs.{}|", word(90))]),
        ("doppler-token", vec![format!("|dp.pt.{}|", word(43)), format!("|dp.st.prd.{}|", word(43))]),
        ("supabase-token", vec![format!("|sbp_{}|", hex(40)), format!("|sb_secret_{}|", word(31))]),
        (
            "slack-token",
            vec![
                format!("|xoxb-{}-{}-{}|", random(12, "0123456789"), random(12, "0123456789"), word(24)),
                format!("|xapp-1-A{}-{}-{}|", random(10, UPPER), random(13, "0123456789"), hex(64)),
            ],
        ),
        (
            "slack-webhook",
            vec![
                format!("https://hooks.slack.com/services/T{}/B{}/|{}|", random(8, UPPER), random(10, UPPER), word(24)),
                format!(
                    r"https:\/\/hooks.slack.com\/services\/T{}\/B{}\/|{}|",
                    random(8, UPPER),
                    random(10, UPPER),
                    word(24)
                ),
            ],
        ),
        ("stripe-key", vec![format!("|sk_{}_{}|", "live", word(24)), format!("|rk_{}_{}|", "test", word(99))]),
        ("sendgrid-key", vec![format!("|SG.{}.{}|", word(22), word(43))]),
        (
            "twilio-key",
            vec![format!("TWILIO_API_KEY=|SK{}|", hex(32)), format!("twilio_auth_token: \"|{}|\"", hex(32))],
        ),
        ("telegram-bot-token", vec![format!("bot{}:|AA{}|/getMe", random(10, "0123456789"), word(33))]),
        ("discord-token", vec![format!("DISCORD_TOKEN=|{discord}|"), format!("Authorization: Bot |{discord}|")]),
        (
            "discord-webhook",
            vec![format!("https://discord.com/api/webhooks/{}/|{}|", random(18, "0123456789"), word(68))],
        ),
        ("linear-key", vec![format!("|lin_api_{}|", word(40))]),
        ("notion-token", vec![format!("|ntn_{}|", word(46)), format!("\"|secret_{}|\"", word(43))]),
        ("shopify-token", ["shpat_", "shpca_", "shppa_", "shpss_"].map(|p| format!("|{p}{}|", hex(32))).to_vec()),
        ("postman-key", vec![format!("|PMAK-{}-{}|", hex(24), hex(34))]),
        ("private-key", private_keys()),
        (
            "private-key-base64",
            vec![format!("tls.key: |LS0tLS1CRUdJTi{}{}|", "BSU0EgUFJJVkFURSBLRVkt", random(800, B64))],
        ),
        ("age-secret-key", vec![format!("|AGE-SECRET-KEY-1{}|", random(58, UPPER))]),
        (
            "jwt",
            vec![
                format!("token=|{jwt}|;"),
                format!("\\n|{jwt}|"),
                format!("|eyJ{}..{}.{}.{}|", word(40), word(16), word(99), word(22)),
            ],
        ),
        ("onepassword-token", vec![format!("ops_|eyJ{}|", word(700))]),
        (
            "url-password",
            vec![
                "postgres://app:|hunter22|@db.example.com/x".into(),
                "redis://:|s3cr%40t|@cache:6379".into(),
                "see https://me:|gl1tt3r|@example.com.".into(),
            ],
        ),
        (
            "authorization-bearer",
            vec![
                format!("Authorization: Bearer |{}|", hex(40)),
                format!(r#"-H "authorization: bearer |{}|""#, word(33)),
            ],
        ),
        ("authorization-basic", vec![format!("Authorization: Basic |{}==|", word(22))]),
    ]
}

fn private_keys() -> Vec<String> {
    let edge = |side: &str, kind: &str| format!("-----{side} {kind}PRIVATE KEY-----");
    let mut all = Vec::new();
    for kind in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
        for joint in ["\n", "\\n", "\r\n", "\\\\n", "\n    ", "\\n+"] {
            let tail = format!("{joint}{}{joint}{}", body(4, joint), edge("END", kind));
            all.push(format!("{}|{tail}|{joint}", edge("BEGIN", kind)));
        }
    }
    let headers = "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0123456789ABCDEF\n\n";
    all.push(format!("{}|{headers}{}\n{}|\n", edge("BEGIN", "RSA "), body(4, "\n"), edge("END", "RSA ")));
    all.push(format!(
        "-----BEGIN PGP PRIVATE KEY BLOCK-----|\nVersion: GnuPG v2\n\n{}\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----|",
        body(9, "\n")
    ));
    // Cut off, and as an editor's view shows it.
    all.push(format!("{}|\n{}|\n[12 more lines]", edge("BEGIN", "RSA "), random(64, B64)));
    for arrow in ["\u{2192}", "\t", "\\t", "\\u2192"] {
        let lines: Vec<String> = (2..6).map(|i| format!("\n     {i}{arrow}{}", random(64, B64))).collect();
        let end = format!("\n     6{arrow}{}=\n     7{arrow}{}", random(9, B64), edge("END", ""));
        all.push(format!("     1{arrow}{}|{}{end}|\n", edge("BEGIN", ""), lines.concat()));
    }
    all
}

/// Texts in which nothing may be found.
pub(crate) fn negative() -> Vec<String> {
    let mut all: Vec<String> = [
        "from sk-learn import task-123 and disk-usage-of-the-whole-machine-in-bytes",
        "https://example.com/path?x=1#frag https://host:8080/a@b git@github.com:owner/repo.git ssh://git@host/x",
        "postgres://user:password@localhost/db postgres://$USER:$PASS@host redis://${USER}:${PASS}@h https://<u>:<p>@h",
        "http://localhost:3000 \"://\"+u+\":\"+p+\"@\" '://'+u+':'+p+'@'+h %s://%s:%s@%s",
        "npm_config_registry=x npm_package_version hf_hub_download(repo) r8_unorm gsk_unknown xai-team pypi-server",
        "550e8400-e29b-41d4-a716-446655440000 d41d8cd98f00b204e9800998ecf8427e",
        "if line.starts_with(\"-----BEGIN RSA PRIVATE KEY-----\") { let end = \"-----END RSA PRIVATE KEY-----\"; }",
        "the -----BEGIN PRIVATE KEY----- header is followed by base64, then -----END PRIVATE KEY-----",
        "const AKIA = 'ASIA'; ABSK dapi AIza ya29. hvs. SG. xoxb- Bearer ${token} Bearer <token> Bearer authentication",
        "Basic usage, Basic authentication-scheme; authorization: basic; basic HTTP",
        "client_secret: str, secret_access_key: Option<String>, SECRET_ACCESS_KEY_ENV = \"AWS\"",
        "twilio-python==8.2.0 discord.py==2.3 https://discord.com/api/v10/gateway hooks.slack.com/services/",
        "precious suspicious conscious ciołek ratio:AA 12:AA 7Q~8Q~ v1.0-beta.1 v1.0-rc2 1//0 Bot and Bottle",
        "eyJ eyJhbGciOiJIUzI1NiJ9 data:application/json;base64,eyJ2ZXJzaW9uIjozLCJzb3VyY2VzIjpbXX0=",
        "!function(e,t){for(var n=e.sk,r=0;r<t.length;r++)n[t[r].key]=t[r].value||e.auth.token}(window,[]);",
        "[redacted:API_KEY] [redacted:github-token]",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(format!("integrity sha512-{}==", random(86, B64)));
    all.push(format!("<img src=\"data:image/png;base64,{}\">", random(4000, B64)));
    all.push(format!("commit {}\nindex {}..{} 100644", hex(40), hex(7), hex(7)));
    all.push(format!("checksum = \"{}\"", hex(64)));
    all.push(format!("Bearer {}", "x".repeat(40)));
    all.push(format!("x-request-id: {}", word(64)));
    all
}

/// Splits `before|secret|after`.
pub(crate) fn parts(text: &str) -> (String, String, String) {
    let mut parts = text.splitn(2, '|');
    let before = parts.next().unwrap_or_default();
    let rest = parts.next().unwrap_or_default();
    let (secret, after) = rest.rsplit_once('|').expect("a sample has two bars");
    (before.to_owned(), secret.to_owned(), after.to_owned())
}

/// All samples as plain text, by rule.
pub(crate) fn texts() -> HashMap<&'static str, Vec<String>> {
    let join = |text: &String| {
        let (a, b, c) = parts(text);
        a + &b + &c
    };
    positive().into_iter().map(|(id, all)| (id, all.iter().map(join).collect())).collect()
}
