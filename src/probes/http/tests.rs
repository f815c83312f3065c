use super::*;

fn lint(params: Value) -> Vec<String> {
    Http.lint(&params).into_iter().map(|finding| finding.message).collect()
}

#[test]
fn what_cannot_work_is_said_before_a_run() {
    let secret = json!({"secretKeyRef": {"name": "a", "key": "b"}});
    for (params, why) in [
        (json!({"url": "http://ada:geheim@shop.example.com"}), "credential"),
        (json!({"url": "http://"}), "cannot be read"),
        (json!({"url": "http://a", "headers": [{"name": "x y", "value": "1"}]}), "name"),
        (json!({"url": "http://a", "headers": [{"name": "x"}]}), "exactly one"),
        (
            json!({"url": "http://a", "headers": [{"name": "x", "value": "1", "valueFrom": secret}]}),
            "exactly one",
        ),
        (json!({"url": "http://a.b.svc", "auth": {"bearerToken": secret}}), "passes neither"),
        (
            json!({"url": "http://a.b.svc", "headers": [{"name": "authorization", "valueFrom": secret}]}),
            "passes neither",
        ),
        (json!({"url": "http://a.b.svc", "method": "HEAD"}), "HEAD"),
        (json!({"url": "https://a.b.svc", "tls": {"insecureSkipVerify": true}}), "passes neither"),
    ] {
        let said = lint(params.clone());
        assert!(said.len() == 1 && said[0].contains(why), "{params}: {said:?}");
        assert!(!said[0].contains("geheim"), "a secret is not repeated");
    }
    for params in [
        json!({"url": "https://shop.example.com/a?b=c", "auth": {"bearerToken": secret}, "method": "POST", "body": "x"}),
        json!({"url": "http://$(params.app).shop.svc/cart"}),
        json!({"url": "http://a.b.svc", "headers": [{"name": "x-token", "valueFrom": secret}]}),
    ] {
        assert_eq!(lint(params.clone()), Vec::<String>::new(), "{params}");
    }
}

#[test]
fn locations_are_resolved() {
    let base: Uri = "http://a.example.com:8080/one/two?three".parse().expect("a URL");
    for (location, leads) in [
        ("https://b.example.com/x", Some("https://b.example.com/x")),
        ("//b.example.com/x", Some("http://b.example.com/x")),
        ("/x?y", Some("http://a.example.com:8080/x?y")),
        ("?y", Some("http://a.example.com:8080/one/two?y")),
        ("x", Some("http://a.example.com:8080/one/x")),
        ("ftp://b.example.com/x", None),
        ("file:///etc/passwd", None),
        ("http://", None),
    ] {
        assert_eq!(resolved(&base, location).map(|url| url.to_string()).as_deref(), leads, "{location}");
    }
    let origin = |a: &str, b: &str| same_origin(&a.parse().expect("a URL"), &b.parse().expect("a URL"));
    assert!(origin("http://a/x", "http://A:80/y") && origin("https://a", "https://a:443"));
    assert!(
        !origin("https://a", "http://a")
            && !origin("http://a", "http://a:8080")
            && !origin("http://a", "http://b")
    );
}

#[test]
fn a_body_that_is_no_json_has_no_keys() {
    let answer = Response::builder().status(502).header("x-a", "1").header("x-a", "2");
    let answer = answer.body(Bytes::from_static(b"<html>bad gateway")).expect("an answer");
    let Reading::Measured(variables) = measured(&answer, Duration::from_millis(250)) else {
        panic!("an answer")
    };
    assert_eq!((&variables["status"], &variables["json"]), (&json!(502), &json!({})));
    assert_eq!((&variables["latency"], &variables["headers"]), (&json!(0.25), &json!({"x-a": "1, 2"})));
}

mod without_an_answer {
    use super::*;
    use crate::probes::{Expressions, Judge, Past};

    /// Whether an expression is within when there is no answer.
    fn within(value: Option<&str>, expect: &str) -> Option<bool> {
        let expressions = Expressions { value, expect: Some(expect), during: None };
        let judge = Judge::compile(&INFO, expressions, &BTreeMap::new()).expect("compiles");
        let past = Past { window: vec![0.01; 20], ..Past::default() };
        let (judgement, _) = judge.judge(&no_answer("connection refused".to_owned()), &past, None);
        assert_eq!(judgement.note, "connection refused");
        assert_eq!(judgement.expect, judgement.during);
        judgement.expect
    }

    #[test]
    fn it_is_outside_unless_it_is_asked_for() {
        for expect in [
            "status == 200",
            "status < 500",
            "status != 500",
            "latency < 2.0",
            "value < 2.0",
            "window.p95 < 2.0",
            "status < 500 && latency < 2.0",
            "json.ready",
            "body == ''",
            "error == ''",
            "!body.contains('error')",
        ] {
            assert_eq!(within(None, expect), Some(false), "{expect}");
        }
        for expect in ["status == 0", "status == 200 || status == 0", "error.contains('refused')", "true"] {
            assert_eq!(within(None, expect), Some(true), "{expect}");
        }
    }

    #[test]
    fn a_number_made_of_it_counts() {
        let value = Some("status == 200 ? 1.0 : 0.0");
        assert_eq!(within(value, "value == 1.0"), Some(false));
        assert_eq!(within(value, "window.min < 0.5 && value < 0.5"), Some(true));
    }
}
