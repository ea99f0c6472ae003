//! Who may ask over TCP: whoever shows the token, from a page of this very server or from none.
//!
//! Owns the checks of a request's head. A browser on this machine runs pages of strangers, which
//! can send requests here (CSRF) and, with a name of theirs that points at 127.0.0.1, read the
//! answers (DNS rebinding). The name in `Host`, the page in `Origin` and the token stop both; a
//! guest with `--allow-host` is stopped by the token.
//!
//! The API takes the token from `Authorization` only, which no page can be made to send by another.
//! The page's own files, which a browser loads by itself, may show it by a cookie that the page's
//! first request, with `?token=`, is given.
//!
//! Spec: RFC 9110 §7.2, RFC 6454, RFC 6750 §2.1, RFC 6265bis.

use std::net::SocketAddr;

use axum::response::Response;
use hyper::Request;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use portreeve_types::api::ProblemType;

use crate::fault::Fault;
use crate::token::Token;
use crate::ui;

/// Checks requests that come over TCP.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// Where the server listens, as in `127.0.0.1:8080`, and by the name of this machine.
    hosts: [String; 2],
    cookie: String,
    token: Token,
}

/// What else an answer must carry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// Nothing.
    Plainly,
    /// The cookie for the page's files.
    WithCookie,
}

impl Guard {
    pub(crate) fn new(address: SocketAddr, token: Token) -> Self {
        let port = address.port();
        Self {
            hosts: [address.to_string(), format!("localhost:{port}")],
            // Cookies are a host's, whatever the port: two engines must not take each other's.
            cookie: format!("portreeve-{port}"),
            token,
        }
    }

    /// Lets a request pass, or says what is wrong with it.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<Passed, Fault> {
        let headers = request.headers();
        self.check_host(headers)?;
        self.check_origin(headers)?;
        if self.has_bearer(headers) {
            return Ok(Passed::Plainly);
        }
        let path = request.uri().path();
        if path == "/" || path.starts_with(ui::PAGE) {
            let query = request.uri().query().unwrap_or_default();
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            if pairs.any(|(name, value)| name == "token" && self.token.is(value.as_bytes())) {
                return Ok(Passed::WithCookie);
            }
            if self.has_cookie(headers) {
                return Ok(Passed::Plainly);
            }
        }
        let fault = Fault::new(ProblemType::Unauthorized, "the token is missing or wrong");
        Err(fault.help(
            "open the address that was printed at the start, or send the token as in \
                        `Authorization: Bearer TOKEN`",
        ))
    }

    /// Gives the page what its files are asked for with.
    pub(crate) fn give_cookie(&self, response: &mut Response) {
        let (name, token) = (&self.cookie, self.token.reveal());
        let page = ui::PAGE;
        let cookie = format!("{name}={token}; Path={page}; HttpOnly; SameSite=Strict");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().insert(hyper::header::SET_COOKIE, cookie);
        }
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let host = only(headers, HOST);
        if host.is_some_and(|host| self.hosts.iter().any(|known| known.as_bytes() == host)) {
            return Ok(());
        }
        let hosts = self.hosts.join(" or ");
        Err(Fault::new(ProblemType::Forbidden, format!("the header `host` must be {hosts}")))
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Fault> {
        // Browsers send both, and no page can change or suppress them.
        let site = only(headers, HeaderName::from_static("sec-fetch-site"));
        let foreign = site.is_some_and(|site| site != b"same-origin" && site != b"none");
        let allowed = headers.get_all(ORIGIN).iter().all(|origin| {
            let host = origin.as_bytes().strip_prefix(b"http://");
            host.is_some_and(|host| self.hosts.iter().any(|known| known.as_bytes() == host))
        });
        if allowed && !foreign {
            return Ok(());
        }
        Err(Fault::new(ProblemType::Forbidden, "the request comes from a page of another site"))
    }

    fn has_bearer(&self, headers: &HeaderMap) -> bool {
        let value = only(headers, AUTHORIZATION).unwrap_or_default();
        let (scheme, token) = value.split_at_checked(7).unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"bearer ") && self.token.is(token.trim_ascii())
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut cookies = cookies.flat_map(|cookies| cookies.split(';'));
        cookies.any(|cookie| match cookie.trim().split_once('=') {
            Some((name, value)) => name == self.cookie && self.token.is(value.as_bytes()),
            None => false,
        })
    }
}

/// The value of a header that is there exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard() -> Guard {
        Guard::new("127.0.0.1:8080".parse().unwrap(), Token::new(TOKEN).unwrap())
    }

    fn check(path: &str, headers: &[(&str, &str)]) -> Result<Passed, u16> {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard().check(&request.body(()).unwrap()).map_err(|fault| fault.problem().status)
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:8080");
    const BEARER: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");
    const COOKIE: (&str, &str) = ("cookie", "a=b; portreeve-8080=0123456789abcdef");

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        assert_eq!(check("/v1/health", &[HERE, BEARER]), Ok(Passed::Plainly));
        assert_eq!(check("/v1/health", &[("host", "localhost:8080"), BEARER]), Ok(Passed::Plainly));
        for wrong in ["", "Bearer ", "Bearer 0123456789abcde", "Basic 0123456789abcdef", "Bearer"] {
            assert_eq!(check("/v1/health", &[HERE, ("authorization", wrong)]), Err(401), "{wrong}");
        }
        assert_eq!(check("/v1/health", &[HERE, BEARER, BEARER]), Err(401));
        assert_eq!(check("/v1/health", &[HERE]), Err(401));
    }

    #[test]
    fn a_cookie_and_an_address_are_for_the_page_only() {
        let asked = format!("/ui/?token={TOKEN}");
        assert_eq!(check(&asked, &[HERE]), Ok(Passed::WithCookie));
        assert_eq!(check(&format!("/?token={TOKEN}"), &[HERE]), Ok(Passed::WithCookie));
        assert_eq!(check("/ui/?token=wrong", &[HERE]), Err(401));
        assert_eq!(check("/ui/app.js", &[HERE, COOKIE]), Ok(Passed::Plainly));
        assert_eq!(check("/ui/app.js", &[HERE]), Err(401));
        // A page of another site can make a browser send these.
        assert_eq!(check("/v1/ports", &[HERE, COOKIE]), Err(401));
        assert_eq!(check(&format!("/v1/ports?token={TOKEN}"), &[HERE]), Err(401));
        assert_eq!(check("/metrics", &[HERE, COOKIE]), Err(401));
    }

    #[test]
    fn names_and_pages_of_strangers_are_refused_before_the_token_is_looked_at() {
        for host in ["evil.test:8080", "127.0.0.1", "127.0.0.1:80", "[::1]:8080", ""] {
            assert_eq!(check("/v1/health", &[("host", host), BEARER]), Err(403), "{host}");
        }
        assert_eq!(check("/v1/health", &[BEARER]), Err(403));
        for origin in ["http://evil.test", "null", "https://127.0.0.1:8080", "http://127.0.0.1"] {
            let headers = [HERE, BEARER, ("origin", origin)];
            assert_eq!(check("/v1/health", &headers), Err(403), "{origin}");
        }
        let own = [HERE, BEARER, ("origin", "http://127.0.0.1:8080")];
        assert_eq!(check("/v1/health", &own), Ok(Passed::Plainly));
        for (site, passes) in [("same-origin", true), ("none", true), ("cross-site", false)] {
            let headers = [HERE, BEARER, ("sec-fetch-site", site)];
            assert_eq!(check("/v1/health", &headers).is_ok(), passes, "{site}");
        }
        let same_site = [HERE, BEARER, ("sec-fetch-site", "same-site")];
        assert_eq!(check("/v1/health", &same_site), Err(403), "another port of this machine");
    }
}
