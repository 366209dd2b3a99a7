//! The console: files that are part of the program (`build.rs` says from where), and the page itself for every address that is a
//! page's and no API's, because the page knows its own addresses.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rust_embed::{EmbeddedFile, RustEmbed};

/// What the page may do: talk to this gateway and show what came with it, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      font-src 'self'; worker-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Where programs, and not people, look for something: what is not there is told in their words.
const OF_PROGRAMS: [&str; 5] = ["/v1/", "/api/", "/ws/", "/hooks/", "/assets/"];

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/console"]
struct Files;

/// The file of this address, or the page for somebody who wants one; none for everybody else.
pub(super) fn find(request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let path = request.uri().path();
    let (name, file) = match Files::get(path.trim_start_matches('/')) {
        Some(file) => (path, file),
        None if wants_page(path, request.headers()) => ("index.html", Files::get("index.html")?),
        None => return None,
    };
    Some(answer(name, file, request.headers()))
}

fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html") && !OF_PROGRAMS.iter().any(|prefix| path.starts_with(prefix))
}

fn answer(name: &str, file: EmbeddedFile, asked: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..16]));
    let known =
        asked.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).is_some_and(|known| known.contains(&etag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = HeaderValue::from_str(file.metadata.mimetype()).ok();
        ([(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")))], file.data)
            .into_response()
    };
    let headers = response.headers_mut();
    // The names under /assets/ say what is in them; everything else is asked for again.
    let cache = if name.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.extend(HeaderValue::from_str(&etag).ok().map(|etag| (ETAG, etag)));
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn ask(method: Method, path: &str, accept: &str) -> Option<Response> {
        find(&Request::builder().method(method).uri(path).header(ACCEPT, accept).body(Body::empty()).unwrap())
    }

    #[test]
    fn a_person_gets_the_page_and_a_program_does_not() {
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        for path in ["/", "/lanes", "/sessions/a-1", "/runs/compare?a=1&b=2"] {
            let page = ask(Method::GET, path, browser).unwrap();
            assert_eq!(page.headers()[CONTENT_TYPE], "text/html");
            assert_eq!(page.headers()["content-security-policy"], POLICY);
            assert_eq!(page.headers()[CACHE_CONTROL], "no-cache");
            let again =
                Request::builder().uri(path).header(ACCEPT, browser).header(IF_NONE_MATCH, &page.headers()[ETAG]);
            assert_eq!(find(&again.body(Body::empty()).unwrap()).unwrap().status(), StatusCode::NOT_MODIFIED);
        }
        assert!(ask(Method::GET, "/index.html", "*/*").is_some());
        for (method, path, accept) in [
            (Method::POST, "/", browser),
            (Method::GET, "/lanes", "application/json"),
            (Method::GET, "/v1/nothing", browser),
            (Method::GET, "/assets/none.js", browser),
            (Method::GET, "/../Cargo.toml", "*/*"),
        ] {
            assert!(ask(method.clone(), path, accept).is_none(), "{method} {path}");
        }
    }
}
