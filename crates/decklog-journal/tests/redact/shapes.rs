//! Tokens as their services issue them: each is replaced whole, however it travels.
//!
//! A shape is written in pieces, so that no token is in this file: `C…` letters and digits, `H…` lower-case
//! hexadecimal, `U…` capitals and the digits of base32, `L…` lower-case letters and digits, `B…` base64, `D…`
//! digits, with a length behind; all else is itself, with `~` between pieces.

use decklog_journal::redact::*;

use crate::samples::random;
use crate::streamed;

const SHAPES: &str = "\
    sk-ant-~api03-~C95 sk-ant-~oat01-~C86AA sk-ant-~admin01-~C95 sk-~proj-~C120 sk-~svcacct-~C80 sk-~admin-~C80 \
    sk-~C20~T3Blbk~FJ~C20 sk-~C48 sk-~H32 sk-~or-v1-~H64 AI~za~C35 AQ~.Ab~C48 gs~k_~C52 xa~i-~C80 pp~lx-~C48 r8~_~C37 \
    hf~_~C34 api~_org_~C34 nva~pi-~C64 csk~-~L48 fw~_~C24 tgp~_v1_~C43 lsv2~_pt_~H32~_~H10 lsv2~_sk_~H32~_~H10 \
    sk-~lf-~H8~-~H4~-~H4~-~H4~-~H12 pcsk~_~C6~_~C60 tvly~-~C32 tvly~-dev-~C32 gh~p_~C36 gh~o_~C36 gh~u_~C36 \
    gh~s_~C36 gh~r_~C36 github~_pat_~C22~_~C59 gl~pat-~C20 gl~dt-~C20 gl~rt-~C20 gl~rt-t1_~C27 gl~ptt-~H40 gl~cbt-~C2~_~C20 \
    gl~agent-~C50 gl~soat-~C20 gl~oas-~C64 gl~ft-~C20 gl~imt-~C25 gl~ffct-~C20 GR13~48941~C20 AT~ATT3~C180=~U8 \
    AT~BB~C32 AT~CTT3~C180=~U8 AT~TA~H64 np~m_~C36 py~pi-AgE~C150 cio~C32 ruby~gems_~H48 dckr~_pat_~C27 dckr~_oat_~C32 \
    oy2~L43 CLO~JARS_~L60 AK~Cp~C69 cmV~md~C59 CCI~PAT_~C22~_~H40 CCI~PRJ_~C22~_~H40 sq~u_~H40 sq~p_~H40 sq~a_~H40 \
    sg~p_~H16~_~H40 sg~p_~H40 AK~IA~U16 AS~IA~U16 AB~IA~U16 AC~CA~U16 A3~TX~U16 AB~SK~B128= IQoJ~b3JpZ2lu~B300 LT~AI~C20 \
    bedrock-api-~key-YmVkcm9jay5hbWF6b25hd3MuY29t~B200 ya~29.~C100 GOC~SPX-~C28 1/~/0~C60 do~p_v1_~H64 do~o_v1_~H64 do~r_v1_~H64 \
    da~pi~H32 da~pi~H32-2 v1~.0-~H24~-~H146 fm~2_~B200 fo~1_~C43 fm~1r_~B200 hv~s.~C95 hv~b.~C140 dp~.pt.~C43 dp~.st.prd.~C43 \
    dp~.ct.~C43 dp~.sa.~C43 dp~.scim.~C43 dp~.audit.~C43 sbp~_~H40 sb~_secret_~C31 sha~256~~~C43 pu~l-~H40 tskey~-auth-~C16-~C32 \
    tskey~-api-~C12CNTRL-~C32 tskey~-client-~C12CNTRL-~C32 nf~p_~C36 nf~p_~C44 vc~p_~C56 vc~i_~C24 vc~k_~C56 HR~KU-AA~C58 \
    HR~KU-~H8-~H4-~H4-~H4-~H12 na~pi_~L64 rn~d_~C32 pscale~_tkn_~C43 pscale~_oauth_~C43 pscale~_pw_~C43 \
    xox~b-~D12-~D13-~C24 xox~p-~D11-~D11-~D13-~H32 xox~a-2-~D12-~C48 xox~e-1-~C146 xapp~-1-~U11-~D13-~H64 sk_~live_~C24 \
    sk_~test_~C99 rk_~live_~C24 sk_~prod_~C24 wh~sec_~C32 SG~.~C22~.~C43 xkey~sib-~H64-~C16 xsmtp~sib-~H64-~C16 sq0~atp-~C22 sq0~csp-~C43 \
    EA~AA~C60 EA~AB~C160 EA~AM~C120 EZ~AK~C54 EZ~TK~C54 FLW~SECK-~H32-X FLW~SECK_TEST-~H32-X FLW~SECK_TEST-~H12 shippo~_live_~H40 \
    shippo~_test_~H40 lin~_api_~C40 lin~_oauth_~H64 nt~n_~D11~C35 secr~et_~C43 shp~at_~H32 shp~ca_~H32 shp~pa_~H32 shp~ss_~H32 \
    PM~AK-~H24-~H34 AGE-SEC~RET-KEY-1~U58 sntry~s_eyJ~B120=_~B43 sntry~u_~H64 gl~sa_~C32~_~H8 gl~c_~B64= NR~AK-~U27 NR~II-~C32 \
    NR~JS-~H19 dt0~c01.~U24~.~U64 dt0~s01.~U24~.~U64 fig~d_~C40 CF~PAT-~C43 ph~x_~C43 sk~.eyJ~C80.~C22 pat~C14~.~H64 \
    pat-~na1-~H8-~H4-~H4-~H4-~H12 s~l.B~C134 duffel~_live_~C43 duffel~_test_~C43 p8~e-~L32 4b~1d~C38 dn~key-~L26~-~L52 fio~-u-~C64 \
    _gitlab~_session=~H32 pat~.~C22~.~C24~.~C20 sat~.~C22~.~C24~.~C20 ic~o-~C32 s-s~4t2ud-~H64 s-s~4t2af-~H64 API~-~U26 pn~u_~C36 \
    rdme~_~L70 tk~-us-~C48 sm~_aat_~C16 sm~_pat_~C16 sm~_sat_~C16 tf~p_~C59 AQ~VN~C36 access-~sandbox-~H8-~H4-~H4-~H4-~H12 \
    access-~production-~H8-~H4-~H4-~H4-~H12 A3-~U6-~U11-~U5-~U5-~U5 A3-~U6-~U6-~U5-~U5-~U5-~U5 test~_~H35 live~_~H35 live~_pub_~H31 \
    eyJ~rIjoi~C90= FLWP~UBK_TEST-~H32-X";

/// Those that name themselves only together with the text before them: `before|token|after`.
const IN_CONTEXT: &[&str] = &[
    "C14|.atlas~v1.~C64|",
    "DB_PASSWORD=|hunter2~hunter2|\n",
    "export PASSWORD='|Tr0ub4dor~&3|'",
    "\"password\": \"|S3cr3t~Horse|\"",
    "\\\"password\\\":\\\"|S3cr3t~Horse|\\\"",
    "password = \"|c0rrect~-horse|\";",
    "smtp_passwd: |p4ss~w0rd99|\n",
    "PGPASSWORD=|q8Zr2~LkX| psql",
    "machine example.com login ada password |q8Zr2~LkX|\n",
    "machine example.com\n  login ada\n  password |words~alone|\n",
    "//npm.example.com/:_authToken=|C32|\n",
    "_auth=|YWRhOnE4~WnIyTGtY|\n",
    "{\"auths\":{\"example.com\":{\"auth\":\"|YWRhOnE4~WnIyTGtY|\"}}}",
    "\"auth\": \"|YWRhOnE4~WnIyTGtY|\"",
    "curl -u ada:|q8Zr2~LkX| https://example.com",
    "API_KEY=|C16|\n",
    "MY_SERVICE_TOKEN=|C20|\n",
    "\"clientSecret\": \"|C40|\"",
    "client_secret: '|C40|'",
    "access_token=|C40|&x=1",
    "x-api-key: |C32|\r\n",
    "const apiKey = \"|C32|\"",
    "adafruit_api_key = \"|L32|\"",
    "HEROKU_API_KEY=|H8-~H4-~H4-~H4-~H12|\n",
    "\"datadogToken\": \"|L40|\"",
    "twitter_secret => '|L45|'",
    "SNYK_TOKEN=|H8-~H4-~H4-~H4-~H12|\n",
    "okta_token := \"|00~C40|\"",
    "mailgun_key='|key-~H32|'",
    "finnhub_token=\"|L20|\"",
    "sc_~L10~.~L5|.acc~-~L16~.~C40|",
    "https://example.webhook.office.com/webhookb2/|H8-~H4-~H4-~H4-~H12@~H8-~H4-~H4-~H4-~H12/IncomingWebhook/~H32/~H8-~H4-~H4-~H4-~H12|",
    "jwt: |ZXlK~B120|",
];

/// The pieces of a shape as text.
fn piece(piece: &str, seed: &mut usize) -> String {
    let (kind, length) = piece.split_at(usize::from(piece.is_char_boundary(1)).min(piece.len()));
    let digits: String = length.chars().take_while(char::is_ascii_digit).collect();
    let alphabet = match kind {
        "C" => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
        "H" => "0123456789abcdef",
        "U" => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
        "L" => "abcdefghijklmnopqrstuvwxyz0123456789",
        "B" => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        "D" => "0123456789",
        _ => return piece.to_owned(),
    };
    match digits.parse::<usize>() {
        Ok(count) => {
            *seed += 1;
            // A seed of its own for each piece: its length.
            let all = random(count + *seed, alphabet);
            format!("{}{}", &all[*seed..], &length[digits.len()..])
        }
        Err(_) => piece.to_owned(),
    }
}

fn written(shape: &str) -> String {
    let mut seed = 0;
    shape.split('~').map(|part| if part.is_empty() { "~".to_owned() } else { piece(part, &mut seed) }).collect()
}

fn tokens() -> Vec<String> {
    SHAPES.split_whitespace().map(|shape| written(&shape.replace("~~~", "~\u{0}~")).replace('\u{0}', "~")).collect()
}

fn redactor() -> Redactor {
    Redactor::builder().build()
}

/// The rules that find these.
pub(crate) fn rules_that_find() -> Vec<String> {
    let redactor = redactor();
    let texts = tokens().into_iter().chain(IN_CONTEXT.iter().map(|shape| shape.split('|').map(written).collect()));
    let name =
        |text: String| Some(redactor.redact_str(&text).split_once("[redacted:")?.1.split_once(']')?.0.to_owned());
    texts.filter_map(name).collect()
}

/// What a text becomes, with the markers' names left out.
fn redacted(redactor: &Redactor, text: &str) -> String {
    let mut out = String::new();
    let redacted = redactor.redact_str(text);
    let mut rest = &*redacted;
    while let Some(at) = rest.find("[redacted:") {
        out.push_str(&rest[..at]);
        out.push('*');
        rest = &rest[at + rest[at..].find(']').expect("a marker ends") + 1..];
    }
    out + rest
}

#[test]
fn every_shape_is_replaced_whole() {
    let (redactor, tokens) = (redactor(), tokens());
    assert!(tokens.len() + IN_CONTEXT.len() >= 200, "{}", tokens.len() + IN_CONTEXT.len());
    let mut wrong = Vec::new();
    for token in &tokens {
        for (before, after) in [("", ""), ("use ", " now"), ("X=", "\n"), ("\"", "\","), ("?x=", "&y=1"), ("('", "')")]
        {
            let out = redacted(&redactor, &format!("{before}{token}{after}"));
            if out != format!("{before}*{after}") {
                wrong.push(format!("{before}{token}{after} -> {out}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_secret_in_context_is_replaced() {
    let redactor = redactor();
    let mut wrong = Vec::new();
    for shape in IN_CONTEXT {
        let parts: Vec<String> = shape.split('|').map(written).collect();
        let [before, secret, after] = &parts[..] else { panic!("{shape}") };
        let out = redacted(&redactor, &format!("{before}{secret}{after}"));
        if out != format!("{before}*{after}") {
            wrong.push(format!("{shape} -> {out}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_shape_is_found_at_every_cut() {
    let redactor = redactor();
    for token in tokens() {
        let text = format!("a {token} b");
        let whole = redactor.redact(text.as_bytes());
        for cut in 0..=text.len() {
            assert_eq!(streamed(&redactor, text.as_bytes(), &[cut]), *whole, "{text} cut at {cut}");
        }
    }
}

#[test]
fn every_shape_is_found_in_json_within_json() {
    let redactor = redactor();
    for token in tokens() {
        let inner = serde_json::json!({ "text": format!("line\n{token}\nline") }).to_string();
        let outer = serde_json::json!({ "result": inner }).to_string();
        let out = redactor.redact_str(&outer).into_owned();
        assert!(!out.contains(&token[4..]), "{outer} -> {out}");
        serde_json::from_str::<serde_json::Value>(&out).expect("JSON stays JSON");
    }
}

#[test]
fn tokens_are_found_in_base64_at_every_offset() {
    let redactor = redactor();
    let mut wrong = Vec::new();
    for token in tokens() {
        // What begins with three letters alone is not looked for in base64: they are too common there.
        if redactor.find(token.as_bytes()).is_none() || ["cio", "oy2", "A3T"].iter().any(|k| token.starts_with(k)) {
            continue;
        }
        for lead in ["", "a", "ab", "user:", "{\"k\":\""] {
            for url in [false, true] {
                let coded = base64(format!("{lead}{token}\n").as_bytes(), url);
                let out = redactor.redact_str(&coded).into_owned();
                let left = out.len().saturating_sub(out.find(']').map_or(0, |end| end - out.find('[').unwrap_or(0)));
                if !out.contains("[redacted:") || left > lead.len() * 4 / 3 + 12 {
                    wrong.push(format!("{token} behind {lead:?} -> {out}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} {}", wrong.len(), wrong.join("\n"));
}

fn base64(bytes: &[u8], url: bool) -> String {
    let alphabet = if url { "-_" } else { "+/" };
    let digits: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(alphabet.chars()).collect();
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let value = three.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for i in 0..4 {
            out.push(if i <= three.len() { digits[(value >> (18 - 6 * i) & 63) as usize] } else { '=' });
        }
    }
    out
}

fn gitleaks(key: &str) -> Vec<toml::Value> {
    let file: toml::Table = include_str!("../../src/redact/gitleaks.toml").parse().expect("it is TOML");
    file[key].as_array().cloned().unwrap_or_default()
}

pub(crate) fn rules_of_gitleaks() -> Vec<String> {
    gitleaks("rules").iter().filter_map(|rule| Some(rule["id"].as_str()?.to_owned())).collect()
}

/// Each rule of gitleaks, by what its own regex says: taken over or covered by a rule of ours, it is found.
#[test]
fn what_gitleaks_finds_is_found() {
    use proptest::strategy::{Strategy, ValueTree};
    assert!(gitleaks("rules").len() + gitleaks("covered").len() + gitleaks("omitted").len() >= 220);
    let redactor = redactor();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut wrong = Vec::new();
    for entry in gitleaks("rules") {
        let text = |key: &str| entry.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
        // An endless repetition is generated up to 32: enough for none of these bounds.
        let pairs =
            [(r"\b", ""), (",}", ",90}"), ("{0,12}", "{1,12}"), ("(?i:", "(?:"), ("(?i)", ""), (r"\w", "A-Za-z0-9_")];
        let regex = pairs.iter().fold(text("regex"), |regex, (from, to)| regex.replace(from, to));
        let regex = regex.replace(r"\d", "[0-9]");
        let strategy = proptest::string::string_regex(&regex).unwrap_or_else(|error| panic!("{regex}: {error}"));
        let mut found = 0;
        for _ in 0..20 {
            let token = strategy.new_tree(&mut runner).expect("it is generated").current();
            let first = text("before").chars().find(|c| c.is_ascii_lowercase() && !"i".contains(*c)).unwrap_or('i');
            let lead = if text("before").is_empty() { " ".to_owned() } else { format!(" {first}") };
            found += usize::from(redacted(&redactor, &format!("{lead}{token}\n")).contains('*'));
        }
        if found < 15 {
            wrong.push(format!("{} {found} of 20", text("id")));
        }
    }
    for entry in gitleaks("covered") {
        let by = entry["by"].as_str().expect("a rule's id");
        assert!(Rules::built_in().ids().any(|id| id == by), "{by}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
