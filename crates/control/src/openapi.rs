//! The OpenAPI document.
//!
//! Owns its assembly from the endpoints and from the schemas that the API's types have by
//! `schemars`. It is made once, when somebody first asks, and committed as `docs/openapi.json`; a
//! test compares the two. Spec: OpenAPI 3.1.1, JSON Schema 2020-12.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use portreeve_types::api::{Problem, ProblemType};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::endpoint::{Description, Endpoint};
use crate::endpoints;
use crate::fault::PROBLEM_JSON;

/// The document as it is served.
pub(crate) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let document = document(&endpoints::all());
        let text = serde_json::to_string_pretty(&document);
        text.map(|text| text + "\n").unwrap_or_default()
    });
    &TEXT
}

fn document(endpoints: &[Endpoint]) -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut schemas = settings
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in endpoints {
        let method = endpoint.method.as_str().to_ascii_lowercase();
        let operation = operation(&endpoint.description, &mut schemas);
        paths.entry(endpoint.path).or_default().insert(method, operation);
    }
    schemas.subschema_for::<Problem>();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Portreeve control API",
            "version": "1",
            "summary": "What a running engine does, and how to change it.",
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{
            "url": "http://localhost",
            "description": "Over the engine's Unix socket, or where --ui listens.",
        }],
        "tags": endpoints::TAGS.iter().map(|(name, text)| json!({
            "name": name, "description": text,
        })).collect::<Vec<_>>(),
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed over TCP only. Over the Unix socket the caller is \
                                    known by its user and its network namespace.",
                },
            },
        },
    })
}

fn operation(description: &Description, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), description.id.into());
    operation.insert("tags".into(), json!([description.tag]));
    operation.insert("summary".into(), description.summary.into());
    if !description.text.is_empty() {
        operation.insert("description".into(), description.text.into());
    }
    let parameters = parameters(description, schemas);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if let Some(body) = description.body {
        let schema = body(schemas);
        let content = json!({ "application/json": { "schema": schema } });
        operation.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    operation.insert("responses".into(), responses(description, schemas));
    operation.into()
}

fn parameters(description: &Description, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters = Vec::new();
    if let Some(parameter) = &description.path_parameter {
        parameters.push(json!({
            "name": parameter.name,
            "in": "path",
            "required": true,
            "description": parameter.text,
            "schema": (parameter.schema)(schemas),
        }));
    }
    let Some(query) = description.query else { return parameters };
    let schema = query(schemas);
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    for (name, schema) in properties.into_iter().flatten() {
        let mut schema = schema.clone();
        let text = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        forget_null(&mut schema);
        parameters.push(json!({
            "name": name,
            "in": "query",
            "required": required.is_some_and(|names| names.contains(&json!(name))),
            "description": text,
            "schema": schema,
        }));
    }
    parameters
}

/// A parameter that may be left out is an `Option`, but no query can say null.
fn forget_null(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [only] = &choices[..]
            && let Some(only) = only.as_object().cloned()
        {
            schema.remove("anyOf");
            schema.extend(only);
        }
    }
    if let Some(Value::Null) = schema.get("default") {
        schema.remove("default");
    }
}

fn responses(description: &Description, schemas: &mut SchemaGenerator) -> Value {
    let answer = &description.answer;
    let mut content = Map::new();
    for (media, schema) in &answer.content {
        let schema = schema.map_or_else(|| json!({ "type": "string" }), |of| of(schemas).into());
        content.insert((*media).to_owned(), json!({ "schema": schema }));
    }
    let mut response = json!({ "description": answer.text });
    if !content.is_empty() {
        response["content"] = content.into();
    }
    let mut responses = BTreeMap::from([(answer.status, response)]);
    let mut by_status: BTreeMap<u16, Vec<ProblemType>> = BTreeMap::new();
    for problem in description.problems.iter().chain(ANYWHERE) {
        let problems = by_status.entry(problem.status()).or_default();
        if !problems.contains(problem) {
            problems.push(*problem);
        }
    }
    for (status, problems) in by_status {
        let kinds: Vec<_> = problems.iter().map(|problem| kind(*problem)).collect();
        responses.insert(
            status,
            json!({
                "description": kinds.join("; "),
                "content": { PROBLEM_JSON: { "schema": schemas.subschema_for::<Problem>() } },
            }),
        );
    }
    let named: Map<_, _> =
        responses.into_iter().map(|(status, response)| (status.to_string(), response)).collect();
    named.into()
}

/// `unknown-port: no such port`.
fn kind(problem: ProblemType) -> String {
    let name = serde_json::to_value(problem).unwrap_or_default();
    let name = name.as_str().and_then(|name| name.rsplit(':').next()).unwrap_or_default();
    format!("`{name}`: {}", problem.title())
}

/// Problems that any request may meet.
const ANYWHERE: &[ProblemType] = &[
    ProblemType::InvalidRequest,
    ProblemType::Unauthorized,
    ProblemType::Forbidden,
    ProblemType::Internal,
    ProblemType::EngineStopped,
];

const ABOUT: &str = "One engine, one guest, one API: HTTP/1.1 and JSON over a Unix socket, and \
    over loopback TCP with a token where that was asked for.\n\nErrors are problem documents (RFC \
    9457) whose `type` is stable. Clients should ignore fields, event kinds and problem types that \
    they do not know: new ones may come within this version. Unknown query parameters and unknown \
    fields of bodies are refused.";

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const UPDATE: &str = "PORTREEVE_UPDATE_DOCS";

    #[test]
    fn the_committed_document_is_the_one_served() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, text()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let first = text().lines().zip(committed.lines()).find(|(ours, theirs)| ours != theirs);
        assert!(
            committed == text(),
            "docs/openapi.json is not what is served, first at {first:?}; write it with\n    \
             {UPDATE}=1 cargo test -p portreeve-control openapi"
        );
    }

    #[test]
    fn every_operation_is_described_and_every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(text()).unwrap();
        let mut ids = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let of = format!("{method} {path}");
                assert!(!operation["summary"].as_str().unwrap().is_empty(), "{of}");
                let tag = &operation["tags"][0];
                assert!(endpoints::TAGS.iter().any(|(name, _)| tag == name), "{of}: {tag}");
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                for parameter in parameters {
                    assert!(parameter["description"].is_string(), "{of}: {parameter}");
                }
                assert_eq!(path.contains('{'), path.contains('}'));
                ids.push(operation["operationId"].as_str().unwrap().to_owned());
            }
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "two operations with one id");
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    fn collect(value: &Value, references: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match value {
                        Value::String(text) if key == "$ref" => references.push(text.clone()),
                        other => collect(other, references),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
            _ => {}
        }
    }
}
