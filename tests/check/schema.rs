//! Validates a document against `docs/check.schema.json`: as much of JSON Schema as stands there, and an
//! error at any more.
use serde_json::Value;

const SCHEMA: &str = include_str!("../../docs/check.schema.json");

/// Reads a document, exactly one, that the schema allows.
pub(crate) fn read(text: &str) -> Value {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"));
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    validate(&schema, &document, "document").unwrap_or_else(|e| panic!("{e} in {text}"));
    document
}

pub(crate) fn validate(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let holds =
        |ok: bool, what: &Value| if ok { Ok(()) } else { Err(format!("{at} is {value}, not {what}")) };
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "title" | "description" => (),
            "const" => holds(value == rule, rule)?,
            "enum" => holds(rule.as_array().unwrap().contains(value), rule)?,
            "type" => {
                let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                holds(types.iter().any(|kind| is(value, kind.as_str().unwrap())), rule)?;
            }
            "minLength" => {
                let short = value.as_str().is_some_and(|text| {
                    text.chars().count() < usize::try_from(rule.as_u64().unwrap()).unwrap()
                });
                holds(!short, rule)?;
            }
            "minimum" => holds(value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()), rule)?,
            "required" => {
                for name in rule.as_array().unwrap() {
                    holds(value.get(name.as_str().unwrap()).is_some(), name)?;
                }
            }
            "additionalProperties" => {
                assert_eq!(rule, false, "only that is understood");
                for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                    holds(schema["properties"].get(name).is_some(), &Value::from(name.as_str()))?;
                }
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(name) {
                        validate(rule, member, &format!("{at}.{name}"))?;
                    }
                }
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(rule, item, &format!("{at}[{number}]"))?;
                }
            }
            other => return Err(format!("the schema has {other}, which this validator does not know")),
        }
    }
    Ok(())
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other} is not known to this validator"),
    }
}

#[test]
fn the_validator_refuses() {
    let good = r#"{"schema":1,"version":"0.1.0","result":"not-run","user":null,"summary":"s","checks":[]}"#;
    read(good);
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for (from, to) in [
        (r#""schema":1"#, r#""schema":2"#),
        (r#""result":"not-run""#, r#""result":"other""#),
        (r#""user":null"#, r#""user":1"#),
        (r#""user":null,"#, ""),
        (r#""user":null"#, r#""user":null,"more":1"#),
        (r#""summary":"s""#, r#""summary":"""#),
        (r#""checks":[]"#, r#""checks":{}"#),
        (r#""checks":[]"#, r#""checks":[{}]"#),
    ] {
        let bad: Value = serde_json::from_str(&good.replace(from, to)).unwrap();
        assert!(validate(&schema, &bad, "document").is_err(), "{bad}");
    }
}
