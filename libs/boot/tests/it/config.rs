//! Three sources, one result, and words for what is wrong with them.

use std::time::Duration;

use boot::{ConfigError, load};

use crate::support::{Config, DEFAULTS, Mode, env};

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("write it");
    file
}

fn refused(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let file = file(text);
    let result: Result<Config, ConfigError> = load(DEFAULTS, Some(file.path()), &env(variables));
    let shown = file.path().display().to_string();
    let problems = result.expect_err("it must be refused").problems().to_vec();
    problems.iter().map(|problem| problem.replace(&shown, "FILE")).collect()
}

#[test]
fn the_environment_goes_over_the_file_and_the_file_over_the_defaults() {
    let file = file("[work]\nbatch = 20\nhosts = [\"file\"]\n[log]\nfilter = \"warn\"");
    let env = env(&[
        ("STEWARD__WORK__BATCH", "30"),
        ("STEWARD_CONFIG", "not a setting"),
        ("STEWARD", "x"),
    ]);
    let config: Config = load(DEFAULTS, Some(file.path()), &env).unwrap();
    assert_eq!(config.work.batch, 30, "environment");
    assert_eq!(
        (config.work.hosts, config.log.filter),
        (vec!["file".to_owned()], "warn".to_owned()),
        "file"
    );
    assert_eq!(config.work.interval, Duration::from_secs(5), "defaults");
}

#[test]
fn the_environment_can_set_every_type() {
    let config: Config = load(
        DEFAULTS,
        None,
        &env(&[
            ("STEWARD__WORK__INTERVAL", "250ms"),
            ("STEWARD__WORK__BATCH", "1_000"),
            ("STEWARD__WORK__RATIO", "0.25"),
            ("STEWARD__WORK__EAGER", "true"),
            ("STEWARD__WORK__MODE", "live"),
            ("STEWARD__WORK__HOSTS", "x, y,z"),
            ("STEWARD__WORK__TITLE", "123"),
            ("STEWARD__WORK__OFFSET", "-5"),
        ]),
    )
    .unwrap();
    let work = config.work;
    assert_eq!(
        (work.interval, work.batch, work.ratio),
        (Duration::from_millis(250), 1000, 0.25)
    );
    assert_eq!((work.eager, work.mode, work.offset), (true, Mode::Live, -5));
    assert_eq!(work.hosts, ["x", "y", "z"]);
    assert_eq!(
        work.title.as_deref(),
        Some("123"),
        "text that looks like a number stays text"
    );

    let list = env(&[("STEWARD__WORK__HOSTS", r#"["with, comma"]"#)]);
    let config: Config = load(DEFAULTS, None, &list).unwrap();
    assert_eq!(config.work.hosts, ["with, comma"]);
}

#[test]
fn unknown_keys_are_all_refused_by_name_with_the_nearest_known_one() {
    let problems = refused(
        "[work]\nbatsh = 1\n[wrok]\nx = 1\n",
        &[("STEWARD__ADMIN__LISTN", "x"), ("STEWARD__COLOUR", "red")],
    );
    assert_eq!(
        problems,
        [
            "colour (environment variable STEWARD__COLOUR): unknown key; known here: \
             admin, log, telemetry, shutdown, runtime, work, keys",
            "wrok (FILE): unknown key; did you mean `work`?",
            "admin.listn (environment variable STEWARD__ADMIN__LISTN): unknown key; did you mean `listen`?",
            "work.batsh (FILE): unknown key; did you mean `batch`?",
        ]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_key_and_source_but_not_shown() {
    for (variable, text, problem) in [
        (
            "STEWARD__WORK__BATCH",
            "many",
            "work.batch (environment variable STEWARD__WORK__BATCH): expected a whole number, not negative",
        ),
        (
            "STEWARD__WORK__BATCH",
            "-1",
            "work.batch (environment variable STEWARD__WORK__BATCH): expected a whole number, not negative",
        ),
        (
            "STEWARD__WORK__EAGER",
            "yes",
            "work.eager (environment variable STEWARD__WORK__EAGER): expected true or false",
        ),
        (
            "STEWARD__WORK__MODE",
            "dry",
            "work.mode (environment variable STEWARD__WORK__MODE): this value is not known; expected one of: simulated, live",
        ),
        (
            "STEWARD__WORK",
            "5",
            "work (environment variable STEWARD__WORK): expected a table",
        ),
        (
            "STEWARD__ADMIN__LISTEN__PORT",
            "5",
            "admin.listen (environment variable STEWARD__ADMIN__LISTEN__PORT): expected a string, found a table",
        ),
    ] {
        assert_eq!(refused("", &[(variable, text)]), [problem]);
    }
    assert_eq!(
        refused("[work]\nbatch = \"ten\"", &[]),
        ["work.batch (FILE): expected u32, found text"]
    );
    let range = refused("[work]\nbatch = 5000000000", &[]);
    assert_eq!(range, ["work.batch (FILE): this value does not fit; expected u32"]);
    let duration = refused("[work]\ninterval = \"soon\"", &[]);
    assert!(
        duration.first().unwrap().starts_with("work.interval (FILE): "),
        "{duration:?}"
    );
}

#[test]
fn a_missing_key_is_named_with_the_variable_that_sets_it() {
    let without = DEFAULTS.replace("batch = 10", "");
    let error = load::<Config>(&without, None, &env(&[])).unwrap_err();
    assert_eq!(
        error.problems(),
        [
            "work.batch is missing: set it in the configuration file or as STEWARD__WORK__BATCH \
          (a secret also as STEWARD__WORK__BATCH__FILE)"
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_place_and_without_its_text() {
    let problems = refused("[work]\nbatch = 1\ntoken = canary-7f\n", &[]);
    assert_eq!(problems.len(), 1);
    let problem = problems.first().unwrap();
    assert!(
        problem.starts_with("FILE, line 3, column ") && !problem.contains("canary"),
        "{problem}"
    );
}

#[test]
fn a_file_that_is_named_must_exist() {
    let missing = std::path::Path::new("/nowhere/steward.toml");
    let error = load::<Config>(DEFAULTS, Some(missing), &env(&[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("read the configuration file /nowhere/steward.toml"),
        "{error}"
    );
}

#[test]
fn broken_rules_of_boot_and_of_the_service_are_told_together() {
    let problems = refused(
        "[work]\nbatch = 0\ninterval = \"1h\"",
        &[
            ("STEWARD__ADMIN__LISTEN", "9464"),
            ("STEWARD__LOG__FILTER", "work=loud"),
            ("STEWARD__TELEMETRY__OTLP_ENDPOINT", "collector:4318"),
            ("STEWARD__TELEMETRY__SAMPLE_RATIO", "1.5"),
        ],
    );
    let begins = [
        "admin.listen",
        "log.filter",
        "telemetry.otlp_endpoint",
        "telemetry.sample_ratio",
        "work.batch",
        "work.interval",
    ];
    assert_eq!(problems.len(), begins.len(), "{problems:?}");
    for (problem, begin) in problems.iter().zip(begins) {
        assert!(problem.starts_with(begin), "{problem}");
    }
}

#[test]
fn a_variable_that_is_no_key_is_refused() {
    for name in ["STEWARD__", "STEWARD__WORK__", "STEWARD____BATCH"] {
        let problems = refused("", &[(name, "1")]);
        let wanted = format!("environment variable {name}: not a key; write STEWARD__SECTION__KEY");
        assert_eq!(problems, [wanted]);
    }
}

#[test]
fn a_grace_the_platform_would_cut_off_is_refused_with_what_to_do() {
    let with = |kill_after| load::<Config>(DEFAULTS, None, &env(&[("STEWARD__SHUTDOWN__KILL_AFTER", kill_after)]));
    for enough in ["0s", "21s"] {
        assert!(with(enough).is_ok(), "{enough}");
    }
    for too_little in ["20s", "5s"] {
        let said = with(too_little).unwrap_err().to_string();
        for part in ["shutdown.grace (20s)", too_little, "give the platform more time"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
