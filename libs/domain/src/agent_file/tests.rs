use super::*;

const MINIMAL: &str = "name = \"demo\"\n[run]\ncommand = [\"python3\", \"agent.py\"]\n";

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let file = AgentFile::parse(MINIMAL).unwrap();
    assert_eq!(file.run.timeout, Duration::from_secs(1800));
    assert_eq!(file.bidding.min_score, 600);
    assert_eq!(file.budget.share_of_net, 250);
    let live = file.clone().with_defaults(false);
    assert_eq!(live.bidding.mode, Some(Mode::Shadow));
    assert_eq!(live.bidding.max_bids_per_day, Some(10));
    assert_eq!(live.delivery.approve_above_usdc, Some(MicroUsdc::ZERO));
    let simulated = file.with_defaults(true);
    assert_eq!(simulated.bidding.mode, Some(Mode::Auto));
    assert_eq!(simulated.bidding.max_bids_per_day, None);
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let error = AgentFile::parse(&format!("{MINIMAL}[bidding]\nmin_scoer = 0.5\n")).unwrap_err();
    assert!(error.to_string().contains("min_scoer"), "{error}");
}

#[test]
fn amounts_and_fractions_are_read_exactly() {
    let file = AgentFile::parse(&format!(
        "{MINIMAL}[bidding]\nmin_score = 0.65\nmin_price_usdc = 2.5\n[limits]\nmemory = \"1GiB\"\n"
    ))
    .unwrap();
    assert_eq!(file.bidding.min_score, 650);
    assert_eq!(file.bidding.min_price_usdc, MicroUsdc(2_500_000));
    assert_eq!(file.limits.memory, 1 << 30);
}

#[test]
fn values_that_cannot_work_are_all_named() {
    let text = "name = \"De mo\"\n[run]\ncommand = []\nidle = \"2h\"\n[env]\nAPI_TOKEN = \"x\"\nNICE = \"sk-abc\"\n";
    let Err(Error::Values(problems)) = AgentFile::parse(text) else {
        panic!("accepted")
    };
    let all = problems.join("\n");
    for part in ["name:", "run.command", "run.idle", "env.API_TOKEN", "env.NICE"] {
        assert!(all.contains(part), "{part} is missing in {all}");
    }
}

#[test]
fn a_file_kept_as_json_reads_back() {
    let file = AgentFile::parse(MINIMAL).unwrap().with_defaults(false);
    let json = serde_json::to_value(&file).unwrap();
    assert_eq!(serde_json::from_value::<AgentFile>(json).unwrap(), file);
}

#[test]
fn who_writes_the_bids_is_kept_only_where_it_is_said() {
    let usual = AgentFile::parse(MINIMAL).unwrap();
    assert_eq!(
        (usual.bidding.write, usual.budget.per_proposal_usd),
        (Write::Template, MicroUsdc(20_000))
    );
    let kept = serde_json::to_value(&usual).unwrap();
    assert!(
        kept["bidding"].get("write").is_none() && kept["budget"].get("per_proposal_usd").is_none(),
        "an executor of the release before reads it: {kept}"
    );
    let text = format!("{MINIMAL}[bidding]\nwrite = \"agent\"\n[budget]\nper_proposal_usd = 0.05\n");
    let own = AgentFile::parse(&text).unwrap();
    assert_eq!(
        (own.bidding.write, own.budget.per_proposal_usd),
        (Write::Agent, MicroUsdc(50_000))
    );
    let kept = serde_json::to_value(&own).unwrap();
    assert_eq!(serde_json::from_value::<AgentFile>(kept).unwrap(), own);
    let dearer = text.replace("= 0.05", "= 0.05\nper_day_usd = 0.04");
    for (wrong, word) in [
        (text.replace("0.05", "-0.05"), "budget.per_proposal_usd"),
        (dearer, "budget.per_proposal_usd"),
        (text.replace("\"agent\"", "\"me\""), "write"),
    ] {
        let error = AgentFile::parse(&wrong).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn hosts_are_written_in_full_and_never_as_patterns() {
    let with = |place: &str| AgentFile::parse(&format!("{MINIMAL}[network]\nallow = [{place:?}]\n"));
    for place in ["api.example.org:443", "8.8.8.8:53", "[2606:4700::1111]:443"] {
        assert_eq!(with(place).unwrap().network.allow, [place]);
    }
    for wrong in [
        "example.org",
        "*.example.org:443",
        ":443",
        "example.org:0",
        "https://example.org:443",
        "[x]:1",
        "a b:1",
    ] {
        let error = with(wrong).unwrap_err().to_string();
        assert!(error.contains("network.allow"), "{wrong}: {error}");
    }
}

const PROMPT: &str = "name = \"demo\"\n[run]\nadapter = \"prompt\"\n[prompt]\ntemplate = \"prompt.txt\"\n";
const HTTP: &str = "name = \"demo\"\n[run]\nadapter = \"http\"\n[http]\nurl = \"https://agent.example.org/jobs\"\n";

#[test]
fn an_agent_without_code_needs_a_template_or_an_endpoint_and_nothing_else() {
    let file = AgentFile::parse(PROMPT).unwrap();
    let prompt = file.prompt.as_ref().unwrap();
    assert_eq!(
        (prompt.output.as_str(), prompt.model(&file.models.default)),
        ("answer.md", "gpt-4o-mini")
    );
    let kept = serde_json::to_value(&file).unwrap();
    assert_eq!(serde_json::from_value::<AgentFile>(kept).unwrap(), file);
    assert!(AgentFile::parse(HTTP).is_ok());
    assert!(AgentFile::parse(&HTTP.replace("https://agent.example.org", "http://127.0.0.1:8000")).is_ok());
}

#[test]
fn a_short_timeout_needs_no_word_about_silence() {
    let short = AgentFile::parse(&format!("{MINIMAL}timeout = \"10m\"\n")).unwrap();
    assert_eq!(short.run.idle, Duration::from_secs(600));
    assert!(AgentFile::parse(&format!("{MINIMAL}timeout = \"10m\"\nidle = \"11m\"\n")).is_err());
}

#[test]
fn what_does_not_fit_the_adapter_is_named() {
    for (text, word) in [
        (PROMPT.replace("template", "tempalte"), "tempalte"),
        (PROMPT.replace("prompt.txt", "../prompt.txt"), "prompt.template"),
        (format!("{PROMPT}output = \"/etc/x\"\n"), "prompt.output"),
        (format!("{PROMPT}max_tokens = 0\n"), "prompt.max_tokens"),
        (format!("{PROMPT}model = \"gpt-5\"\n"), "models.allow"),
        (
            PROMPT.replace("\"prompt\"\n", "\"prompt\"\ncommand = [\"sh\"]\n"),
            "starts no program",
        ),
        ("name = \"demo\"\n[run]\nadapter = \"prompt\"\n".to_owned(), "[prompt]"),
        (format!("{MINIMAL}[http]\nurl = \"https://a.example\"\n"), "run.adapter"),
        (HTTP.replace("https", "http"), "https"),
        (HTTP.replace("https://", "https://user:word@"), "password"),
        (
            PROMPT.replace("adapter = \"prompt\"", "adapter = \"carrier-pigeon\""),
            "carrier-pigeon",
        ),
    ] {
        let error = AgentFile::parse(&text).unwrap_err().to_string();
        assert!(error.contains(word), "{word} is not in {error}");
    }
}

#[test]
fn checks_are_command_lines() {
    let checks = |list: &str| AgentFile::parse(&format!("{MINIMAL}[delivery]\nchecks = {list}\n"));
    let file = checks(r#"["test -s report.md", "python3 \"$STEWARD_BUNDLE/check.py\""]"#).unwrap();
    assert_eq!(file.delivery.checks.len(), 2);
    for wrong in [r#"[" "]"#, r#"["true\nfalse"]"#, &format!("[{}]", "'true',".repeat(21))] {
        let error = checks(wrong).unwrap_err().to_string();
        assert!(error.contains("delivery.checks"), "{error}");
    }
}

#[test]
fn a_review_names_a_model_that_may_be_named_and_a_file_of_the_folder() {
    let file = |review: &str| {
        AgentFile::parse(&format!(
            "name = \"demo\"\n[run]\ncommand = [\"x\"]\n[models]\ndefault = \"a\"\nallow = [\"b\"]\n[delivery.review]\n{review}"
        ))
    };
    let good = file("model = \"b\"\nprompt = \"review.txt\"\non_reject = \"hold\"").unwrap();
    let review = good.delivery.review.unwrap();
    assert_eq!((review.model("a"), review.on_reject), ("b", OnReject::Hold));
    assert_eq!(file("").unwrap().delivery.review.unwrap().model("a"), "a");
    for (bad, told) in [
        ("model = \"c\"", "delivery.review.model"),
        ("prompt = \"../x\"", "delivery.review.prompt"),
        ("on_reject = \"pass\"", "on_reject"),
        ("on_rejct = \"fail\"", "on_rejct"),
    ] {
        let error = file(bad).unwrap_err().to_string();
        assert!(error.contains(told), "{bad}: {error}");
    }
}
