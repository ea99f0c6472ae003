//! A request that was not carried out, as it is answered.
//!
//! Owns the passage of errors of the library into [`Problem`]s of the API and of these into HTTP.
//! Spec: RFC 9457.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use portreeve::{
    CaptureError, DnsChangeError, KillError, LimitsChangeError, PublishError, UnpublishError,
};
use portreeve_types::SpecError;
use portreeve_types::api::{Problem, ProblemType};

/// Answers a request with a problem.
#[derive(Debug)]
pub(crate) struct Fault(Box<Problem>);

impl Fault {
    pub(crate) fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(kind, detail)))
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::InvalidRequest, detail)
    }

    pub(crate) fn out_of_range(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::OutOfRange, detail)
    }

    /// The engine's thread is gone, or stuck.
    pub(crate) fn stopped() -> Self {
        Self::new(ProblemType::EngineStopped, "the engine has stopped")
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self(Box::new(self.0.with_help(Some(help))))
    }

    /// What is said.
    #[cfg(test)]
    pub(crate) fn problem(&self) -> &Problem {
        &self.0
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<SpecError> for Fault {
    fn from(error: SpecError) -> Self {
        let help = error.help().to_owned();
        Self::new(ProblemType::InvalidSpecification, error.to_string()).help(help)
    }
}

impl From<PublishError> for Fault {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::Request(_) => Self::new(ProblemType::InvalidSpecification, detail),
            PublishError::NeedsWatcher(_) => Self::new(ProblemType::InvalidSpecification, detail)
                .help("name the port, as in 8080:80"),
            PublishError::Bind { what, address, cause, help } => {
                let detail = format!("cannot publish {what} on {address}: {cause}");
                let fault = Self::new(ProblemType::BindFailed, detail);
                match help {
                    Some(help) => fault.help(help),
                    None => fault,
                }
            }
            PublishError::RangeInUse { .. } => Self::new(ProblemType::BindFailed, detail),
            PublishError::Refused { .. } => Self::new(ProblemType::LimitReached, detail),
            PublishError::Stopped => Self::stopped(),
            _ => Self::new(ProblemType::Internal, detail),
        }
    }
}

impl From<UnpublishError> for Fault {
    fn from(error: UnpublishError) -> Self {
        match error {
            UnpublishError::Unknown(_) => Self::new(ProblemType::UnknownPort, error.to_string()),
            UnpublishError::Stopped => Self::stopped(),
            _ => Self::new(ProblemType::Internal, error.to_string()),
        }
    }
}

impl From<KillError> for Fault {
    fn from(error: KillError) -> Self {
        match error {
            KillError::Stopped => Self::stopped(),
            _ => Self::new(ProblemType::UnknownFlow, error.to_string()),
        }
    }
}

impl From<LimitsChangeError> for Fault {
    fn from(error: LimitsChangeError) -> Self {
        match error {
            LimitsChangeError::Invalid(error) => Self::out_of_range(error.to_string()),
            LimitsChangeError::NeedsRestart(names) => {
                let detail = format!("only a restart changes {}", names.join(", "));
                Self::new(ProblemType::NeedsRestart, detail).help("nothing was changed")
            }
            LimitsChangeError::Stopped => Self::stopped(),
            other => Self::new(ProblemType::Internal, other.to_string()),
        }
    }
}

impl From<DnsChangeError> for Fault {
    fn from(error: DnsChangeError) -> Self {
        match error {
            DnsChangeError::NoNameServer => Self::no_name_server(),
            DnsChangeError::Invalid(error) => Self::out_of_range(error.to_string()),
            DnsChangeError::Full => {
                Self::new(ProblemType::LimitReached, "there are as many records as there may be")
            }
            DnsChangeError::Stopped => Self::stopped(),
            other => Self::new(ProblemType::Internal, other.to_string()),
        }
    }
}

impl From<CaptureError> for Fault {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::Stopped => Self::stopped(),
            _ => Self::new(ProblemType::TooMany, error.to_string()),
        }
    }
}

impl Fault {
    pub(crate) fn no_name_server() -> Self {
        Self::new(ProblemType::Unavailable, "this engine has no name server")
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let kind = self.0.kind;
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body).into());
        *response.status_mut() =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if kind == ProblemType::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// RFC 9457 §3.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
