//! The command line.

use std::process::Command as Process;

use clap::{CommandFactory as _, Parser as _};
use cli::args::{Cli, Command};
use testkit::bin;

fn steward(words: &[&str]) -> std::process::Output {
    let mut command = Process::new(bin("steward").unwrap());
    for name in [
        "STEWARD_ENDPOINT",
        "STEWARD_TOKEN",
        "STEWARD_BILLING_ENDPOINT",
        "DATABASE_URL",
    ] {
        command.env_remove(name);
    }
    command.args(words).current_dir("/").output().unwrap()
}

/// Every command with its subcommands, as scripts and people know them.
fn commands() -> String {
    let all = Cli::command();
    let lines = all.get_subcommands().map(|command| {
        let below: Vec<_> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
        format!("{} {}", command.get_name(), below.join("|"))
            .trim_end()
            .to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_commands_scripts_know_keep_their_names() {
    let known = "up\ndown\ndemo\ninit\nstatus\nmigrate\nearnings\nagents add|init|test|env|link|register|readiness|verify-email|\
                 webhooks|claim-link|pause|resume|wind-down|list|show|mode|versions|rollback|endpoint-key|remove\ngigs list|show\n\
                 contracts list|show|retry\nmessages list|send\napprovals list|show|approve|refuse\n\
                 runs list|show|files|retry|cancel|logs\n\
                 inbox list|show|replay\ndead-letters list|show|retry|drop\nnotices list|resolve\n\
                 effects list|show|approve|refuse\nconsole\nledger check|explain|statement\ndoctor live|sandbox\nsmoke\n\
                 api drift\nprices list|set\nsecrets set|list|remove\nmaintenance list|start|end\nexecutors list|drain\ndeployments list\nversion\ncompletions";
    assert_eq!(commands(), known);
}

#[test]
fn every_command_and_argument_says_what_it_does() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
        for argument in command.get_arguments() {
            let name = (command.get_name(), argument.get_id());
            assert!(argument.get_help().is_some(), "{name:?} says nothing");
        }
        command.get_subcommands().for_each(check);
    }
    Cli::command().debug_assert();
    check(&Cli::command());
}

#[test]
fn replicas_are_read_and_wrong_ones_refused_by_name() {
    let cli = Cli::try_parse_from(["steward", "up", "--replicas", "scheduler=2", "--replicas", "executor=3"]).unwrap();
    let Command::Up(up) = cli.command else { panic!("not up") };
    let each: Vec<_> = up
        .replicas
        .iter()
        .map(|one| (one.service.as_str(), one.count))
        .collect();
    assert_eq!(each, [("scheduler", 2), ("executor", 3)]);
    for bad in ["scheduler", "scheduler=0", "scheduler=99", "postgres=2"] {
        assert!(
            Cli::try_parse_from(["steward", "up", "--replicas", bad]).is_err(),
            "{bad}"
        );
    }
    assert!(Cli::try_parse_from(["steward", "up", "--live", "--simulated"]).is_err());
    assert!(Cli::try_parse_from(["steward", "up", "--live", "--rehearse"]).is_err());
}

#[test]
fn exit_codes_tell_usage_from_a_missing_stack() {
    assert_eq!(steward(&["nonsense"]).status.code(), Some(2));
    assert_eq!(steward(&["--help"]).status.code(), Some(0));
    let dir = tempfile::tempdir().unwrap();
    let missing = steward(&["contracts", "list", "--json", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(3));
    let said: serde_json::Value = serde_json::from_slice(&missing.stderr).unwrap();
    assert!(said["error"].as_str().unwrap().contains("steward up"), "{said}");
}

#[test]
fn completions_and_version_need_no_stack() {
    let bash = steward(&["completions", "bash"]);
    let script = String::from_utf8(bash.stdout).unwrap();
    assert!(script.contains("dead-letters") && script.contains("notices"));
    let version = steward(&["version", "--json"]);
    let version: serde_json::Value = serde_json::from_slice(&version.stdout).unwrap();
    assert_eq!(version["service"], "steward");
    assert!(version["git_sha"].is_string());
}

#[test]
fn a_starter_folder_is_an_agent_that_can_be_packed_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("My 2nd_agent");
    let words = ["init", folder.to_str().unwrap()];
    assert_eq!(steward(&words).status.code(), Some(0));
    let packed = cli::bundle::pack(&cli::bundle::agent_file(&folder)).unwrap();
    assert!(packed.names.contains(&"steward.py".to_owned()), "{:?}", packed.names);
    assert_eq!(packed.agent.name, "my-2nd-agent", "it is named after its folder");
    let mode = packed.agent.bidding.mode.map(domain::agent_file::Mode::name);
    assert_eq!(mode, Some("ask"), "no bid goes out that nobody looked at");
    assert!(cli::bundle::runnable(&packed, cli::bundle::runnable::Place::Here, "").is_ok());
    assert_eq!(
        steward(&words).status.code(),
        Some(4),
        "a second init must not overwrite"
    );
}

#[test]
fn live_mode_names_everything_it_needs_before_it_starts_anything() {
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("mine");
    assert_eq!(steward(&["init", agent.to_str().unwrap()]).status.code(), Some(0));
    let stack = dir.path().join("stack");
    // One of the three files: somebody registered it elsewhere. With none of them it is registered once the stack is up.
    let given = stack.join("secrets/agents/mine");
    std::fs::create_dir_all(&given).unwrap();
    std::fs::write(given.join("marketplace_id"), "m-1").unwrap();
    let mut command = Process::new(bin("steward").unwrap());
    let output = command
        .args(["up", "--live", "--agent"])
        .arg(agent.join("agent.toml"))
        .arg("--dir")
        .arg(&stack)
        .env_remove("OPENAI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    for wanted in [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "api_key",
        "webhook_secret",
        "profile.description",
        "profile.contact_email",
    ] {
        assert!(said.contains(wanted), "{wanted} is not named: {said}");
    }
    assert!(!stack.join("stack.json").exists());
}

#[test]
fn real_money_and_play_money_never_share_a_folder() {
    for (earlier, options, refused) in [
        ("live", &["--rehearse"][..], true),
        ("live", &[], true),
        ("rehearsal", &["--live"], true),
        ("simulated", &["--live"], true),
        // What stops these is the agent file that is not there.
        ("live", &["--live"], false),
        ("rehearsal", &[], false),
        ("simulated", &["--rehearse"], false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("stack.json"), format!("{{\"mode\": \"{earlier}\"}}")).unwrap();
        let dir = dir.path().to_str().unwrap();
        let words = [&["up", "--dir", dir, "--agent", "/nowhere/agent.toml"][..], options].concat();
        let output = steward(&words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            said.contains(&format!("of a {earlier} stack")),
            refused,
            "{earlier} {options:?}: {said}"
        );
        assert_eq!(output.status.code(), Some(if refused { 4 } else { 2 }), "{said}");
    }
}
