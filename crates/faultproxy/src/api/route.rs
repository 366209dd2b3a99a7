//! From a request to an answer: which path, which method, what it asks for.

use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use crate::control::FaultProxy;
use crate::error::Error;
use crate::json::{self, Unknown};

/// The version of Toxiproxy whose API this is; clients ask for it to know what they may send.
const TOXIPROXY: &str = "2.12.0";

/// What a path names.
enum Place {
    Proxies,
    Populate,
    Reset,
    Version,
    Metrics,
    Proxy(String),
    Toxics(String),
    Toxic(String, String),
}

fn place(path: &str) -> Option<Place> {
    let parts: Vec<_> =
        path.strip_prefix('/')?.split('/').map(|part| percent_decode_str(part).decode_utf8_lossy()).collect();
    let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
    Some(match parts[..] {
        ["proxies"] => Place::Proxies,
        ["populate"] => Place::Populate,
        ["reset"] => Place::Reset,
        ["version"] => Place::Version,
        ["metrics"] => Place::Metrics,
        ["proxies", proxy] if !proxy.is_empty() => Place::Proxy(proxy.to_owned()),
        ["proxies", proxy, "toxics"] if !proxy.is_empty() => Place::Toxics(proxy.to_owned()),
        ["proxies", proxy, "toxics", toxic] if !proxy.is_empty() && !toxic.is_empty() => {
            Place::Toxic(proxy.to_owned(), toxic.to_owned())
        }
        _ => return None,
    })
}

/// Answers a request whose body has been read; `Err` is the answer to one that no route is for. `from_browser`: it
/// comes from a web page, or says so.
pub(super) async fn answer(
    proxies: &FaultProxy,
    method: &Method,
    path: &str,
    from_browser: bool,
    body: Result<&[u8], Error>,
) -> Result<Answer, Answer> {
    let place = place(path).ok_or_else(|| answer::text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()))?;
    if from_browser {
        return Ok(answer::text(StatusCode::FORBIDDEN, "User agent not allowed\n".to_owned()));
    }
    match act(proxies, method, place, body).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(answer::empty(StatusCode::METHOD_NOT_ALLOWED)),
        Err(error) => Ok(answer::error(&error)),
    }
}

/// `None`: not with this method.
async fn act(
    proxies: &FaultProxy,
    method: &Method,
    place: Place,
    body: Result<&[u8], Error>,
) -> Result<Option<Answer>, Error> {
    const OK: StatusCode = StatusCode::OK;
    let value = || json::first_value(body.clone()?);
    Ok(Some(match (place, method.as_str()) {
        (Place::Proxies, "GET") => answer::json(OK, &proxies.list()),
        (Place::Proxies, "POST") => {
            let created = proxies.create(json::proxy(&value()?, Unknown::Ignored)?).await?;
            answer::json(StatusCode::CREATED, &created)
        }
        (Place::Populate, "POST") => match value().and_then(|value| json::proxies(&value)) {
            Err(error) => answer::populate_error(&error, &[]),
            Ok(specs) => match proxies.populate(specs).await {
                Ok(done) => answer::json(StatusCode::CREATED, &json!({"proxies": done})),
                Err((error, done)) => answer::populate_error(&error, &done),
            },
        },
        (Place::Reset, "POST") => {
            proxies.reset().await?;
            answer::empty(StatusCode::NO_CONTENT)
        }
        (Place::Version, "GET") => {
            let version: Value = json!({"version": TOXIPROXY, "squall": env!("CARGO_PKG_VERSION")});
            answer::with_type(OK, "application/json;charset=utf-8", format!("{version}\n").into_bytes())
        }
        (Place::Metrics, _) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            answer::with_type(OK, kind, proxies.render_metrics().into_bytes())
        }
        (Place::Proxy(name), "GET") => answer::json(OK, &proxies.get(&name)?),
        (Place::Proxy(name), "POST" | "PATCH") => {
            proxies.get(&name)?;
            answer::json(OK, &proxies.update(&name, json::proxy_update(&value()?)?).await?)
        }
        (Place::Proxy(name), "DELETE") => {
            proxies.delete(&name).await?;
            answer::empty(StatusCode::NO_CONTENT)
        }
        (Place::Toxics(name), "GET") => answer::json(OK, &proxies.get(&name)?.toxics),
        (Place::Toxics(name), "POST") => {
            proxies.get(&name)?;
            answer::json(OK, &proxies.add_toxic(&name, json::toxic(&value()?, Unknown::Ignored)?)?)
        }
        (Place::Toxic(name, toxic), "GET") => answer::json(OK, &proxies.toxic(&name, &toxic)?),
        (Place::Toxic(name, toxic), "POST" | "PATCH") => {
            proxies.toxic(&name, &toxic)?;
            answer::json(OK, &proxies.update_toxic(&name, &toxic, json::toxic_update(&value()?)?)?)
        }
        (Place::Toxic(name, toxic), "DELETE") => {
            proxies.remove_toxic(&name, &toxic)?;
            answer::empty(StatusCode::NO_CONTENT)
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests;
