//! The page: files that are part of the program, as a browser takes them.
//!
//! Owns their types and headers. Never looks into them, and never reads a file: there is no path
//! that a request could lead astray.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
    LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, StatusCode};
use portreeve_types::api::ProblemType;
use sha2::{Digest as _, Sha256};

use crate::fault::Fault;
use crate::state::Api;

/// Where the page is.
pub(crate) const PAGE: &str = "/ui/";

/// Adds the page.
pub(crate) fn routes(router: Router<Api>) -> Router<Api> {
    let to_page = || on(MethodFilter::GET, redirect);
    router
        .route("/", to_page())
        .route("/ui", to_page())
        .route(PAGE, on(MethodFilter::GET, index))
        .route("/ui/{file}", on(MethodFilter::GET, file))
}

async fn redirect() -> Response {
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(PAGE));
    response
}

async fn index(headers: HeaderMap) -> Result<Response, Fault> {
    serve("index.html", &headers)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Fault> {
    serve(&name, &headers)
}

fn serve(name: &str, asked: &HeaderMap) -> Result<Response, Fault> {
    let Some(at) = FILES.iter().position(|(file, _)| *file == name) else {
        let shown: String = name.chars().take(200).collect();
        let detail = format!("there is nothing at {PAGE}{shown}");
        return Err(Fault::new(ProblemType::NotFound, detail));
    };
    let tag = &TAGS[at];
    let known = asked.get_all(IF_NONE_MATCH).iter().any(|known| known == tag);
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { FILES[at].1.into_response() };
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static(media_type(name));
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(ETAG, tag.clone());
    // Asked for again every time: after an upgrade a browser must not mix old and new files.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Everything from here and nothing from elsewhere; nobody may put the page into theirs.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// Name and content, made by `build.rs`.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/ui.rs"));

/// Their entity tags.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |content: &[u8]| {
        let digest = Sha256::digest(content);
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
    };
    FILES.iter().map(|(_, content)| tag(content)).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_served_with_its_type_and_known_ones_are_not_sent_again() {
        let names: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        for needed in ["index.html", "app.js", "style.css"] {
            assert!(names.contains(&needed), "{names:?}");
        }
        for name in names {
            assert_ne!(media_type(name), "application/octet-stream", "{name}");
            let response = serve(name, &HeaderMap::new()).unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, response.headers()[ETAG].clone())]);
            assert_eq!(serve(name, &headers).unwrap().status(), StatusCode::NOT_MODIFIED);
        }
        for name in ["", "../Cargo.toml", "build.rs", "index.html/"] {
            assert!(serve(name, &HeaderMap::new()).is_err(), "{name}");
        }
    }
}
