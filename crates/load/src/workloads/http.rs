//! `http`: one request an iteration, to any service that speaks HTTP/1.1. An answer with another status than expected is a
//! failed check and a failed request.

use ::http::{HeaderName, HeaderValue, Method};
use bytes::Bytes;
use serde::Serialize;
use squall_client::Error;

use super::homecoming::Homecoming;
use super::{Place, patience};
use crate::metrics::{Check, ErrorKind};
use crate::scenario::{ScenarioError, Section};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Http {
    /// `GET`, `POST` …
    pub method: String,
    /// Path and query, on the target.
    pub path: String,
    /// Sent with each request.
    pub body: String,
    /// Of the body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_type: String,
    /// Statuses that are fine; empty: all from 200 to 399.
    pub status: Vec<u16>,
}

impl Http {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let method = match section.text("method")? {
            None => "GET".to_owned(),
            Some(word) => {
                let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
                let choices = known.map(|name| (name, name));
                section.choice("method", &word, &choices)?.to_owned()
            }
        };
        let path = section.text("path")?.ok_or_else(|| section.error("`path` is missing"))?;
        if !path.value.starts_with('/') || path.value.parse::<::http::Uri>().is_err() {
            let message = format!("`path` must be a path such as \"/health?x=1\", not {:?}", path.value);
            return Err(section.error_at(path.at, message));
        }
        let content_type = section.text("content_type")?;
        if let Some(bad) = content_type.as_ref().filter(|it| HeaderValue::from_str(&it.value).is_err()) {
            return Err(section.error_at(bad.at, "`content_type` cannot stand in a header"));
        }
        let status = section.wholes("status")?.unwrap_or_default();
        if status.iter().any(|status| !(100..=999).contains(status)) {
            return Err(section.error_at(section.place("status"), "`status` must be from 100 to 999"));
        }
        Ok(Self {
            method,
            path: path.value,
            body: section.text("body")?.map(|it| it.value).unwrap_or_default(),
            content_type: content_type.map(|it| it.value).unwrap_or_default(),
            status: status.into_iter().map(|status| status as u16).collect(),
        })
    }

    pub(super) fn describe(&self) -> String {
        let statuses = match self.status.as_slice() {
            [] => "2xx or 3xx".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        };
        format!("{} {}, expects {statuses}", self.method, self.path)
    }
}

/// A VU with its connection.
pub(crate) struct Vu {
    config: Http,
    place: Place,
    client: squall_client::Http,
    homecoming: Homecoming,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    failures: u32,
}

impl Vu {
    pub(super) fn new(config: Http, place: Place) -> Self {
        let run = &place.core.run;
        let content_type = HeaderValue::from_str(&config.content_type).ok().filter(|value| !value.is_empty());
        Self {
            client: squall_client::Http::new(place.gateways(), run.options.clone()),
            homecoming: Homecoming::new(&place),
            // Both were checked when the scenario was read.
            method: config.method.parse().unwrap_or(Method::GET),
            headers: content_type.into_iter().map(|value| (::http::header::CONTENT_TYPE, value)).collect(),
            body: Bytes::from(config.body.clone()),
            failures: 0,
            config,
            place,
        }
    }

    pub(super) async fn iterate(&mut self, intended_us: u64) {
        let core = self.place.core.clone();
        if self.homecoming.is_due() {
            self.client.go_home();
        }
        let sent_us = core.now_us();
        let fine = |status: ::http::StatusCode| match self.config.status.as_slice() {
            [] => status.is_success() || status.is_redirection(),
            some => some.contains(&status.as_u16()),
        };
        let answer =
            self.client.request(self.method.clone(), &self.config.path, &self.headers, self.body.clone()).await;
        core.http_request(self.place.load, intended_us, sent_us, self.body.len(), &answer, fine);
        core.check(Check::HttpStatus, answer.as_ref().is_ok_and(|answer| fine(answer.status)));
        match answer {
            Ok(answer) if fine(answer.status) => {
                self.failures = 0;
                core.worked(sent_us);
            }
            Ok(_) => core.error(ErrorKind::STATUS),
            Err(error) => {
                core.error(ErrorKind::of(&error));
                self.wait(&error).await;
            }
        }
    }

    async fn wait(&mut self, error: &Error) {
        patience::after(&self.place, error, self.failures).await;
        self.failures = self.failures.saturating_add(1);
    }
}
