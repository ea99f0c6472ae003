//! What an endpoint is: a method at a path, how it is answered, and what the document says of it.
//!
//! Owns the description that both the router and the OpenAPI document are made from, so that
//! neither can have what the other lacks.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use hyper::Method;
use portreeve_types::api::ProblemType;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::state::Api;

/// Makes the schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One method at one path.
pub(crate) struct Endpoint {
    pub(crate) path: &'static str,
    pub(crate) method: Method,
    pub(crate) route: MethodRouter<Api>,
    pub(crate) description: Description,
}

/// What the document says of it.
pub(crate) struct Description {
    /// `operationId`.
    pub(crate) id: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) text: &'static str,
    pub(crate) path_parameter: Option<PathParameter>,
    pub(crate) query: Option<SchemaOf>,
    pub(crate) body: Option<SchemaOf>,
    pub(crate) answer: Answer,
    /// Problems beside those that any request may meet.
    pub(crate) problems: Vec<ProblemType>,
}

/// The one variable part that a path may have.
pub(crate) struct PathParameter {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) schema: SchemaOf,
}

/// The answer to a request that went well.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: &'static str,
    /// Media types, and the schema where it is JSON.
    pub(crate) content: Vec<(&'static str, Option<SchemaOf>)>,
}

/// `GET`.
pub(crate) fn get<H, T>(path: &'static str, handler: H) -> Endpoint
where
    H: Handler<T, Api>,
    T: 'static,
{
    Endpoint::new(Method::GET, path, on(MethodFilter::GET, handler))
}

/// `POST`.
pub(crate) fn post<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Endpoint {
    Endpoint::new(Method::POST, path, on(MethodFilter::POST, handler))
}

/// `PUT`.
pub(crate) fn put<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Endpoint {
    Endpoint::new(Method::PUT, path, on(MethodFilter::PUT, handler))
}

/// `PATCH`.
pub(crate) fn patch<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Endpoint {
    Endpoint::new(Method::PATCH, path, on(MethodFilter::PATCH, handler))
}

/// `DELETE`.
pub(crate) fn delete<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Endpoint {
    Endpoint::new(Method::DELETE, path, on(MethodFilter::DELETE, handler))
}

impl Endpoint {
    fn new(method: Method, path: &'static str, route: MethodRouter<Api>) -> Self {
        let answer = Answer { status: 204, text: "Done.", content: Vec::new() };
        let description = Description {
            id: "",
            tag: "",
            summary: "",
            text: "",
            path_parameter: None,
            query: None,
            body: None,
            answer,
            problems: Vec::new(),
        };
        Self { path, method, route, description }
    }

    /// Its `operationId` and one line of what it does.
    pub(crate) fn named(mut self, id: &'static str, summary: &'static str) -> Self {
        self.description.id = id;
        self.description.summary = summary;
        self
    }

    /// More about it.
    pub(crate) fn about(mut self, text: &'static str) -> Self {
        self.description.text = text;
        self
    }

    /// What the variable part of its path is.
    pub(crate) fn at<T: JsonSchema>(mut self, name: &'static str, text: &'static str) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.description.path_parameter = Some(PathParameter { name, text, schema });
        self.may(&[ProblemType::InvalidRequest])
    }

    /// Its query parameters: the fields of this type.
    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.description.query = Some(T::json_schema);
        self.may(&[ProblemType::InvalidRequest])
    }

    /// Its JSON body.
    pub(crate) fn takes<T: JsonSchema>(mut self) -> Self {
        self.description.body = Some(SchemaGenerator::subschema_for::<T>);
        self.may(&[
            ProblemType::InvalidRequest,
            ProblemType::TooLarge,
            ProblemType::UnsupportedMediaType,
        ])
    }

    /// Its JSON answer.
    pub(crate) fn answers<T: JsonSchema>(self, status: u16, text: &'static str) -> Self {
        self.sends(status, text, &[("application/json", Some(SchemaGenerator::subschema_for::<T>))])
    }

    /// Its answer, whatever it is.
    pub(crate) fn sends(
        mut self,
        status: u16,
        text: &'static str,
        content: &[(&'static str, Option<SchemaOf>)],
    ) -> Self {
        self.description.answer = Answer { status, text, content: content.to_vec() };
        self
    }

    /// Problems it may answer with.
    pub(crate) fn may(mut self, problems: &[ProblemType]) -> Self {
        for problem in problems {
            if !self.description.problems.contains(problem) {
                self.description.problems.push(*problem);
            }
        }
        self
    }
}

/// All of them under one tag.
pub(crate) fn tagged(tag: &'static str, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let tag = |mut endpoint: Endpoint| {
        endpoint.description.tag = tag;
        endpoint
    };
    endpoints.into_iter().map(tag).collect()
}
