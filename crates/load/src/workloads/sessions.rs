//! `sessions`: an iteration is one session: create, then tasks in it, updates and heartbeats, then end, then its report. A
//! target that goes away for a while is waited for; a session is a success when every step went through in the end.

use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use serde::Serialize;
use squall_client::{Error, Http, http::JSON};
use squall_protocol::task::Published;
use squall_protocol::{ErrorCode, SessionId, SessionReport, SessionState, SessionView};

use super::homecoming::Homecoming;
use super::publish::{Mix, Publisher};
use super::{Place, patience};
use crate::metrics::{Check, ErrorKind};
use crate::scenario::{ScenarioError, Section, as_text, show_span};

/// Its configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sessions {
    /// How long a session lasts; it ends earlier when the load does.
    #[serde(serialize_with = "as_text")]
    pub lasts: Duration,
    /// Tasks that each session publishes per minute. With every fifth, the session is updated.
    pub events_per_min: f64,
    /// How often it says that it is alive.
    #[serde(serialize_with = "as_text")]
    pub heartbeat: Duration,
    /// Share of the sessions that are ended as failed.
    pub failed: f64,
    /// How long a step is tried again while the target is away.
    #[serde(serialize_with = "as_text")]
    pub patience: Duration,
    /// What its tasks are like.
    #[serde(flatten)]
    pub mix: Mix,
}

/// A session is updated with every so many events.
const UPDATE_EVERY: u64 = 5;

impl Sessions {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ScenarioError> {
        let heartbeat = section.span("heartbeat")?.unwrap_or(Duration::from_secs(10));
        if heartbeat < Duration::from_millis(10) {
            return Err(section.error_at(section.place("heartbeat"), "`heartbeat` must be at least 10ms"));
        }
        Ok(Self {
            lasts: section.span("lasts")?.unwrap_or(Duration::from_secs(30)),
            events_per_min: section.number("events_per_min", 0.0, 600_000.0)?.unwrap_or(0.0),
            heartbeat,
            failed: section.share("failed")?.unwrap_or(0.0),
            patience: section.span("patience")?.unwrap_or(Duration::from_secs(15)),
            mix: Mix::read(section)?,
        })
    }

    pub(super) fn describe(&self) -> String {
        let lasts = show_span(self.lasts);
        let mut text = format!("sessions of {lasts}, heartbeat every {}", show_span(self.heartbeat));
        if self.events_per_min > 0.0 {
            text += &format!(", {} tasks a minute each to {}", self.events_per_min, self.mix.lanes.join(", "));
        }
        text
    }
}

static HEADERS: [(HeaderName, HeaderValue); 1] = [(header::CONTENT_TYPE, JSON)];

/// A VU with its connection.
pub(crate) struct Vu {
    config: Sessions,
    place: Place,
    publisher: Publisher,
    http: Http,
    homecoming: Homecoming,
    number: u64,
}

/// What came of a session.
struct Life {
    id: SessionId,
    acknowledged: u64,
    unknown: u64,
    events: u64,
    steps_failed: bool,
}

impl Vu {
    pub(super) fn new(config: Sessions, place: Place) -> Self {
        let run = &place.core.run;
        Self {
            publisher: Publisher::new(config.mix.clone(), place.clone()),
            http: Http::new(place.gateways(), run.options.clone()),
            homecoming: Homecoming::new(&place),
            config,
            place,
            number: 0,
        }
    }

    pub(super) async fn iterate(&mut self, intended_us: u64) {
        let core = self.place.core.clone();
        let name = format!("{}-{}-{}-{}", core.run.id, self.place.load, self.place.number, self.number);
        self.number += 1;
        // Made of hexadecimal digits, numbers and dashes.
        let Ok(id) = SessionId::new(&name) else { return };
        if self.homecoming.is_due() {
            self.http.go_home();
        }
        let created = self.create(&id, intended_us).await;
        core.check(Check::SessionCreated, created.is_ok());
        if let Err(error) = created {
            // Told to stop while it waited for the target: neither a success nor a failure of the target.
            if self.place.stop.is_cancelled() && !matches!(error, Error::Refused { .. }) {
                return;
            }
            core.rate(core.ids.session_success, false);
            if error.code() == Some(ErrorCode::SessionLimit) {
                core.count(core.ids.sessions_refused, 1);
            }
            patience::after(&self.place, &error, 3).await;
            return;
        }
        core.count(core.ids.sessions_created, 1);
        let mut life = Life { id, acknowledged: 0, unknown: 0, events: 0, steps_failed: false };
        self.live(&mut life, core.now_us()).await;
        let success = self.end(&mut life).await;
        core.rate(core.ids.session_success, success);
        core.since(core.ids.session_duration, intended_us);
    }

    async fn create(&mut self, id: &SessionId, intended_us: u64) -> Result<(), Error> {
        let body = format!(
            r#"{{"id":"{id}","metadata":{{"storm":"{}","load":{},"vu":{}}}}}"#,
            self.place.core.run.id, self.place.load, self.place.number
        );
        let created = self.persist(Method::POST, "/v1/sessions", body, intended_us).await;
        match created {
            // An earlier attempt, whose answer was lost, made it; nobody else chooses this id.
            Err((error, true)) if error.code() == Some(ErrorCode::Conflict) => Ok(()),
            Err((error, _)) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Between creation and end: tasks, updates and heartbeats, each at its time.
    async fn live(&mut self, life: &mut Life, begun_us: u64) {
        let core = self.place.core.clone();
        let ends_us = begun_us + self.config.lasts.as_micros() as u64;
        let heartbeat_us = self.config.heartbeat.as_micros() as u64;
        let every_us =
            if self.config.events_per_min > 0.0 { (60e6 / self.config.events_per_min) as u64 } else { u64::MAX };
        // Sessions that begin together must not act together.
        let phase = core.rng.borrow_mut().f64();
        let mut event_us = begun_us.saturating_add((every_us as f64 * phase) as u64);
        let mut alive_us = begun_us.saturating_add(heartbeat_us);
        loop {
            let next_us = event_us.min(alive_us).min(ends_us);
            let wait_us = next_us.saturating_sub(core.now_us());
            if wait_us > 0 && !patience::wait(&self.place, Duration::from_micros(wait_us)).await
                || self.place.stop.is_cancelled()
                || next_us == ends_us
            {
                return;
            }
            if next_us == event_us {
                event_us = event_us.saturating_add(every_us.max(1));
                self.publish(life, next_us).await;
                if life.events.is_multiple_of(UPDATE_EVERY) {
                    let body = format!(r#"{{"metadata":{{"events":{}}}}}"#, life.events);
                    let path = format!("/v1/sessions/{}", life.id);
                    let updated = self.persist(Method::PATCH, &path, body, core.now_us()).await;
                    core.check(Check::SessionUpdated, updated.is_ok());
                    life.steps_failed |= updated.is_err();
                }
            } else {
                alive_us = core.now_us() + heartbeat_us;
                let path = format!("/v1/sessions/{}/heartbeat", life.id);
                life.steps_failed |= self.persist(Method::POST, &path, String::new(), core.now_us()).await.is_err();
            }
        }
    }

    /// Publishes once. Is not tried again: a second attempt would be a second task.
    async fn publish(&mut self, life: &mut Life, intended_us: u64) {
        let core = self.place.core.clone();
        life.events += 1;
        let mut body = Vec::with_capacity(self.config.mix.payload_bytes as usize + 200);
        let Some(draft) = self.publisher.draft(intended_us, Some(&life.id), &mut body) else { return };
        let (sent_us, length) = (core.now_us(), body.len());
        let answer = self.http.request(Method::POST, "/v1/tasks", &HEADERS, Bytes::from(body)).await;
        core.http_request(self.place.load, intended_us, sent_us, length, &answer, |status| status.as_u16() == 202);
        match answer.and_then(|answer| answer.json::<Published>()) {
            Ok(published) => {
                life.acknowledged += 1;
                self.publisher.acknowledged(draft, published.id, intended_us, sent_us);
            }
            Err(error) => {
                life.unknown += u64::from(error.outcome_unknown());
                core.error(ErrorKind::of(&error));
                self.publisher.failed(draft, &error);
            }
        }
    }

    /// Ends it, and looks whether the gateway's report agrees with what was done.
    async fn end(&mut self, life: &mut Life) -> bool {
        let core = self.place.core.clone();
        let failed = core.rng.borrow_mut().f64() < self.config.failed;
        let wanted = if failed { SessionState::Failed } else { SessionState::Completed };
        let body = format!(r#"{{"status":"{}","reason":"the storm says so"}}"#, wanted.as_str());
        let ended = self.persist(Method::POST, &format!("/v1/sessions/{}/end", life.id), body, core.now_us()).await;
        let ended = match ended {
            Ok(body) => serde_json::from_slice::<SessionView>(&body).is_ok_and(|view| view.state == wanted),
            // An earlier attempt, whose answer was lost, ended it.
            Err((error, true)) => error.code() == Some(ErrorCode::SessionEnded),
            Err(_) => false,
        };
        core.check(Check::SessionEnded, ended);
        let path = format!("/v1/sessions/{}/report", life.id);
        let report = self.persist(Method::GET, &path, String::new(), core.now_us()).await;
        let report = report.ok().and_then(|body| serde_json::from_slice::<SessionReport>(&body).ok());
        let adds_up = report.as_ref().is_some_and(|report| {
            let published = report.session.tasks.published;
            report.session.state == wanted
                && (life.acknowledged..=life.acknowledged + life.unknown).contains(&published)
        });
        core.check(Check::SessionReport, adds_up);
        if let Some(report) = report {
            core.session_over(report);
        }
        ended && adds_up && !life.steps_failed
    }

    /// One step, tried again while the target is away. On failure also says whether an earlier attempt may have gone
    /// through.
    async fn persist(
        &mut self,
        method: Method,
        path: &str,
        body: String,
        intended_us: u64,
    ) -> Result<Bytes, (Error, bool)> {
        let core = self.place.core.clone();
        let body = Bytes::from(body);
        let patient_until_us = core.now_us() + self.config.patience.as_micros() as u64;
        let mut maybe_done = false;
        for failures in 0.. {
            let sent_us = core.now_us();
            let headers = if body.is_empty() { &[] } else { HEADERS.as_slice() };
            let answer = self.http.request(method.clone(), path, headers, body.clone()).await;
            core.http_request(self.place.load, intended_us, sent_us, body.len(), &answer, |status| status.is_success());
            let error = match answer.and_then(|answer| answer.accepted()) {
                Ok(answer) => {
                    core.worked(sent_us);
                    return Ok(answer.body);
                }
                Err(error) => error,
            };
            core.error(ErrorKind::of(&error));
            let away = match &error {
                Error::Connect { .. } | Error::Timeout { .. } | Error::Lost { .. } => true,
                Error::Refused { error, .. } => matches!(
                    error.code,
                    ErrorCode::Draining | ErrorCode::Overloaded | ErrorCode::StoreUnavailable | ErrorCode::Timeout
                ),
                Error::Protocol(_) => false,
            };
            if !away || core.now_us() >= patient_until_us {
                return Err((error, maybe_done));
            }
            maybe_done |= error.outcome_unknown();
            let random = core.rng.borrow_mut().f64();
            // Not interrupted by the end of the load: a session that was begun is ended.
            let wait_ms =
                patience::BACKOFF.wait_ms(failures, random).max(error.retry_after_ms().unwrap_or(0).min(1_000));
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        unreachable!("the loop ends by returning")
    }
}
