//! Errors of the API.
//!
//! Spec: RFC 9457 (problem details), sent as `application/problem+json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a request was not carried out. RFC 9457 §3.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{}", .detail.as_deref().unwrap_or(.title))]
pub struct Problem {
    /// Which kind of problem it is; stable, for programs.
    #[serde(rename = "type")]
    pub kind: ProblemType,
    /// The kind in words.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// This problem in words, with addresses, ports and causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Kinds of problems. Within a version of the API kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum ProblemType {
    /// The request is not one of this API: its path.
    #[serde(rename = "urn:portreeve:problem:not-found")]
    NotFound,
    /// The path is there, for other methods.
    #[serde(rename = "urn:portreeve:problem:method-not-allowed")]
    MethodNotAllowed,
    /// A parameter or the body is malformed or contradicts itself.
    #[serde(rename = "urn:portreeve:problem:invalid-request")]
    InvalidRequest,
    /// The body is larger than any request needs.
    #[serde(rename = "urn:portreeve:problem:too-large")]
    TooLarge,
    /// The body is of a media type that is not spoken here.
    #[serde(rename = "urn:portreeve:problem:unsupported-media-type")]
    UnsupportedMediaType,
    /// The publish specification is malformed; `detail` points into it.
    #[serde(rename = "urn:portreeve:problem:invalid-specification")]
    InvalidSpecification,
    /// The caller may not use this API.
    #[serde(rename = "urn:portreeve:problem:forbidden")]
    Forbidden,
    /// The token is missing or wrong.
    #[serde(rename = "urn:portreeve:problem:unauthorized")]
    Unauthorized,
    /// No such port.
    #[serde(rename = "urn:portreeve:problem:unknown-port")]
    UnknownPort,
    /// No such flow; it may have ended.
    #[serde(rename = "urn:portreeve:problem:unknown-flow")]
    UnknownFlow,
    /// No such name among the local records.
    #[serde(rename = "urn:portreeve:problem:unknown-record")]
    UnknownRecord,
    /// The host address and port cannot be bound; `detail` names the cause.
    #[serde(rename = "urn:portreeve:problem:bind-failed")]
    BindFailed,
    /// A limit of the engine is reached.
    #[serde(rename = "urn:portreeve:problem:limit-reached")]
    LimitReached,
    /// A value is outside the range it may take.
    #[serde(rename = "urn:portreeve:problem:out-of-range")]
    OutOfRange,
    /// The setting can only be changed by a restart.
    #[serde(rename = "urn:portreeve:problem:needs-restart")]
    NeedsRestart,
    /// The configuration file cannot be used; everything stays as it was.
    #[serde(rename = "urn:portreeve:problem:invalid-configuration")]
    InvalidConfiguration,
    /// What is asked about is switched off in this engine.
    #[serde(rename = "urn:portreeve:problem:unavailable")]
    Unavailable,
    /// Too many requests or streams of this kind at once.
    #[serde(rename = "urn:portreeve:problem:too-many")]
    TooMany,
    /// The engine has stopped or does not answer in time.
    #[serde(rename = "urn:portreeve:problem:engine-stopped")]
    EngineStopped,
    /// A fault of this program.
    #[serde(rename = "urn:portreeve:problem:internal")]
    Internal,
}

impl ProblemType {
    /// The HTTP status code that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::InvalidSpecification => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound | Self::UnknownPort | Self::UnknownFlow | Self::UnknownRecord => 404,
            Self::MethodNotAllowed => 405,
            Self::BindFailed | Self::LimitReached | Self::NeedsRestart | Self::Unavailable => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::OutOfRange | Self::InvalidConfiguration => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::EngineStopped => 503,
        }
    }

    /// The kind in words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::NotFound => "no such resource",
            Self::MethodNotAllowed => "not for this method",
            Self::InvalidRequest => "invalid request",
            Self::TooLarge => "the request is too large",
            Self::UnsupportedMediaType => "unsupported media type",
            Self::InvalidSpecification => "invalid publish specification",
            Self::Forbidden => "not allowed",
            Self::Unauthorized => "a token is needed",
            Self::UnknownPort => "no such port",
            Self::UnknownFlow => "no such flow",
            Self::UnknownRecord => "no such record",
            Self::BindFailed => "the port cannot be bound",
            Self::LimitReached => "a limit is reached",
            Self::OutOfRange => "out of range",
            Self::NeedsRestart => "this needs a restart",
            Self::InvalidConfiguration => "the configuration file cannot be used",
            Self::Unavailable => "switched off in this engine",
            Self::TooMany => "too many at once",
            Self::EngineStopped => "the engine does not answer",
            Self::Internal => "internal fault",
        }
    }
}

impl Problem {
    /// A problem of a kind, in words.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: Some(detail.into()),
            help: None,
        }
    }

    /// The same, with what would help.
    #[must_use]
    pub fn with_help(mut self, help: Option<impl Into<String>>) -> Self {
        self.help = help.map(Into::into);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_form() {
        let problem = Problem::new(ProblemType::UnknownPort, "no published port 7");
        insta::assert_snapshot!(
            serde_json::to_string(&problem).unwrap(),
            @r#"{"type":"urn:portreeve:problem:unknown-port","title":"no such port","status":404,"detail":"no published port 7"}"#
        );
        assert_eq!(problem.to_string(), "no published port 7");
    }
}
