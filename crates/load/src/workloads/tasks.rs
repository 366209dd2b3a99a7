//! `tasks`: publishes through the real router, over random lanes, kinds and priorities. An iteration is one request: a task
//! or a batch over HTTP, or as many frames in one write over `/ws/work`, and all their answers.

use ::http::{HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use serde::Serialize;
use squall_client::work::{Light, Work};
use squall_client::{Endpoints, Error, Http, http::JSON};
use squall_protocol::task::{PublishResult, PublishResults, Published};

use super::homecoming::Homecoming;
pub use super::publish::Mix;
use super::publish::{Draft, Publisher};
use super::{Place, patience};
use crate::metrics::ErrorKind;
use crate::scenario::{ScenarioError, Section};

/// Over what it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// `POST /v1/tasks`.
    Http,
    /// `publish` frames on `/ws/work`.
    Ws,
}

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tasks {
    /// `http` or `ws`.
    pub transport: Transport,
    /// Tasks of one iteration.
    pub batch: u64,
    /// What they are like.
    #[serde(flatten)]
    pub mix: Mix,
}

impl Tasks {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let transport = match section.text("transport")? {
            None => Transport::Http,
            Some(word) => section.choice("transport", &word, &[("http", Transport::Http), ("ws", Transport::Ws)])?,
        };
        let batch = section.whole("batch", 1, 1_000)?.unwrap_or(1);
        Ok(Self { transport, batch, mix: Mix::read(section)? })
    }

    pub(super) fn describe(&self) -> String {
        let over = match self.transport {
            Transport::Http => "over HTTP",
            Transport::Ws => "as frames on /ws/work",
        };
        let keyed = match self.mix.keyed {
            0.0 => String::new(),
            share => format!(", {:.0} % with an ordering key", share * 100.0),
        };
        let (lanes, bytes) = (self.mix.lanes.join(", "), self.mix.payload_bytes);
        format!("publishes {} task(s) of {bytes} B an iteration {over} to {lanes}{keyed}", self.batch)
    }
}

/// A VU with its connection.
pub(crate) struct Vu {
    config: Tasks,
    place: Place,
    publisher: Publisher,
    http: Http,
    work: Option<Work>,
    /// For `work`.
    gateways: Endpoints,
    homecoming: Homecoming,
    ever_connected: bool,
    failures: u32,
    drafts: Vec<Draft>,
    body: Vec<u8>,
}

static HEADERS: [(HeaderName, HeaderValue); 1] = [(header::CONTENT_TYPE, JSON)];

impl Vu {
    pub(super) fn new(config: Tasks, place: Place) -> Self {
        let core = &place.core;
        Self {
            publisher: Publisher::new(config.mix.clone(), place.clone()),
            http: Http::new(place.gateways(), core.run.options.clone()),
            gateways: place.gateways(),
            homecoming: Homecoming::new(&place),
            work: None,
            ever_connected: false,
            failures: 0,
            drafts: Vec::with_capacity(config.batch as usize),
            body: Vec::with_capacity((config.mix.payload_bytes as usize + 200) * config.batch as usize),
            config,
            place,
        }
    }

    pub(super) async fn iterate(&mut self, intended_us: u64) {
        if self.homecoming.is_due() {
            self.http.go_home();
            if self.gateways.go_home() {
                self.work = None;
            }
        }
        let outcome = match self.config.transport {
            Transport::Http => self.over_http(intended_us).await,
            Transport::Ws => self.over_ws(intended_us).await,
        };
        match outcome {
            Ok(()) => self.failures = 0,
            Err(error) => {
                self.place.core.error(ErrorKind::of(&error));
                patience::after(&self.place, &error, self.failures).await;
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    async fn over_http(&mut self, intended_us: u64) -> Result<(), Error> {
        self.drafts.clear();
        self.body.clear();
        let many = self.config.batch > 1;
        for index in 0..self.config.batch {
            if many {
                self.body.push(if index == 0 { b'[' } else { b',' });
            }
            let draft = self.publisher.draft(intended_us, None, &mut self.body);
            self.drafts.push(draft.ok_or_else(full)?);
        }
        if many {
            self.body.push(b']');
        }
        let core = &self.place.core;
        let body = Bytes::copy_from_slice(&self.body);
        let (sent_us, length) = (core.now_us(), body.len());
        let answer = self.http.request(Method::POST, "/v1/tasks", &HEADERS, body).await;
        core.http_request(self.place.load, intended_us, sent_us, length, &answer, |status| status.as_u16() == 202);
        let answer = match answer.and_then(|response| response.accepted()) {
            Ok(answer) => answer,
            Err(error) => {
                self.drafts.iter().for_each(|draft| self.publisher.failed(*draft, &error));
                return Err(error);
            }
        };
        let unreadable = |why: serde_json::Error| Error::Protocol(why.to_string());
        if !many {
            let published: Published = serde_json::from_slice(&answer.body).map_err(unreadable)?;
            self.publisher.acknowledged(self.drafts[0], published.id, intended_us, sent_us);
            return Ok(());
        }
        let answers: PublishResults = serde_json::from_slice(&answer.body).map_err(unreadable)?;
        if answers.results.len() != self.drafts.len() {
            return Err(Error::Protocol(format!("{} results for {} tasks", answers.results.len(), self.drafts.len())));
        }
        for (draft, result) in self.drafts.iter().zip(answers.results) {
            match result {
                PublishResult::Published(published) => {
                    self.publisher.acknowledged(*draft, published.id, intended_us, sent_us);
                }
                PublishResult::Refused(body) => self.publisher.refused(*draft, &body.error),
            }
        }
        Ok(())
    }

    async fn over_ws(&mut self, intended_us: u64) -> Result<(), Error> {
        let core = self.place.core.clone();
        // Before anything is taken down: what was never sent because there was no connection need not be accounted for
        // one by one, and the error is counted.
        let mut work = match self.work.take() {
            Some(work) => work,
            None => {
                let connected = Work::connect(self.gateways.current(), &core.run.options).await;
                let work = connected.inspect_err(|_| self.gateways.advance())?;
                if std::mem::replace(&mut self.ever_connected, true) {
                    core.count(core.ids.reconnects, 1);
                }
                work
            }
        };
        self.drafts.clear();
        let first = work.unanswered().end;
        for _ in 0..self.config.batch {
            self.body.clear();
            let draft = self.publisher.draft(intended_us, None, &mut self.body).ok_or_else(full)?;
            // Made of texts and numbers just now.
            work.publish_json(&String::from_utf8_lossy(&self.body));
            self.drafts.push(draft);
        }
        let sent_us = core.now_us();
        core.count(core.ids.data_sent, work.queued_bytes() as u64);
        let after = core.run.options.request_timeout;
        let answered = tokio::time::timeout(after, self.answers(&mut work, first, intended_us, sent_us)).await;
        let outcome = answered.unwrap_or(Err(Error::Timeout { after }));
        match outcome {
            Ok(()) => self.work = Some(work),
            Err(ref error) => {
                self.gateways.advance();
                let unanswered = (work.unanswered().start - first) as usize;
                self.drafts[unanswered..].iter().for_each(|draft| self.publisher.failed(*draft, error));
            }
        }
        outcome
    }

    /// Reads until every publish of this iteration is answered; answers come in the order sent.
    async fn answers(&self, work: &mut Work, first: u64, intended_us: u64, sent_us: u64) -> Result<(), Error> {
        while !work.unanswered().is_empty() {
            work.wait().await?;
            while let Some(frame) = work.take_light()? {
                match frame {
                    Light::Published { sequence, id } => {
                        let draft = self.drafts[(sequence - first) as usize];
                        self.publisher.acknowledged(draft, id, intended_us, sent_us);
                    }
                    Light::Refused { sequence, error } => {
                        self.publisher.refused(self.drafts[(sequence - first) as usize], &error);
                    }
                    Light::Error(error) => self.place.core.error(ErrorKind::of_code(error.code)),
                    Light::Subscribed(_) | Light::Deliver(_) | Light::Extended { .. } => {}
                }
            }
        }
        Ok(())
    }
}

fn full() -> Error {
    Error::Protocol("the storm's ledger is full".to_owned())
}
