use super::*;

const GOOD: &str = "Do this: {{ gig.title }} for {{ gig.budget_usdc }} USDC\n\
    {% for message in messages %}{{ message.from }}: {{ message.text }}\n{% endfor %}\
    {% if previous %}{{ previous.request }} {% for file in previous.files %}{{ file.text }}{% endfor %}{% endif %}";

#[test]
fn a_template_sees_the_job_whatever_it_leaves_out() {
    assert_eq!(check("prompt.txt", GOOD), Ok(()));
    let text = render("prompt.txt", GOOD, &sample("revise")).unwrap();
    for part in [
        "Summarise an API",
        "45.00",
        "client: Please keep",
        "add an example",
        "Short",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let bare = json!({ "version": 1, "kind": "work", "gig": null, "messages": [] });
    assert_eq!(render("prompt.txt", GOOD, &bare).unwrap(), "Do this:  for  USDC");
    let whole = json!({ "kind": "work", "attempt": 2, "budget": { "llm_micro_usd": 12 } });
    let counted = "{{ attempt + 1 }} {{ budget.llm_micro_usd }}";
    assert_eq!(render("p", counted, &whole).unwrap(), "3 12");
}

#[test]
fn a_broken_template_is_told_with_its_line_and_column() {
    for (template, line, column, word) in [
        ("one\ntwo {{ gig.titel }}", 2, 8, "undefined"),
        ("{{ nothing }}", 1, 4, "undefined"),
        ("a\n\n  {% if %}", 3, 9, "syntax"),
        ("{{ gig.title | nofilter }}", 1, 16, "nofilter"),
    ] {
        let error = check("prompt.txt", template).unwrap_err();
        let Error::Template {
            line: at,
            column: from,
            ref reason,
            ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!(at, line, "{error}");
        assert!(from.abs_diff(column) <= 4, "{error}, expected column {column}");
        assert!(reason.contains(word), "{error}");
        assert!(error.to_string().starts_with("prompt.txt:"), "{error}");
    }
}

#[test]
fn a_template_that_never_ends_or_says_too_much_is_stopped() {
    let endless = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}";
    assert!(matches!(check("p", endless), Err(Error::Template { .. })));
    let long = "{% for a in range(9000) %}{{ gig.description }}{{ gig.description }}{{ gig.description }}{% endfor %}";
    let mut job = sample("work");
    job["gig"]["description"] = json!("x".repeat(1000));
    let error = render("p", long, &job).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLong {
                what: "prompt it makes",
                ..
            }
        ),
        "{error}"
    );
    let template = "x".repeat(LONGEST_TEMPLATE + 1);
    assert!(matches!(
        check("p", &template),
        Err(Error::TooLong { what: "template", .. })
    ));
}

#[test]
fn a_clients_text_is_never_a_template() {
    let mut job = sample("work");
    job["gig"]["title"] = json!("{{ run_id }} {% for x in range(9) %}");
    let text = render("p", "{{ gig.title }}", &job).unwrap();
    assert_eq!(text, "{{ run_id }} {% for x in range(9) %}");
}
