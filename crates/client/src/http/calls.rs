//! The whole HTTP surface as typed calls. One function, one route.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_protocol::dead_letter::{Handled, ReplayRequest};
use squall_protocol::event::FeedPage;
use squall_protocol::lane::PauseRequest;
use squall_protocol::task::{
    AckRequest, ExtendRequest, Extended, LeaseRequest, Leased, NackRequest, PublishResult, PublishResults, Published,
};
use squall_protocol::{
    Cursor, DeadLetter, DeadLetterFilter, EndSession, Health, LaneView, NewSession, NewTask, Page, Receipt, SessionId,
    SessionReport, SessionState, SessionView, Stats, TaskId, TaskView, Topic, UpdateSession,
};

use super::query::{Query, escaped};
use super::{Http, JSON, Response, parse};
use crate::{Error, Result};

/// The answers to a batch, in the order sent: an id, or why not.
pub type Batch = Vec<Result<Published, squall_protocol::WireError>>;

/// A page of the feed.
pub type EventsPage = FeedPage;

/// Leased tasks, as they came; [`Lease::tasks`] reads them without copying.
#[derive(Debug)]
pub struct Lease {
    body: Bytes,
}

impl Lease {
    /// The tasks.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub fn tasks(&self) -> Result<Vec<squall_protocol::Delivery<'_>>> {
        Ok(parse::<Leased<'_>>(&self.body)?.tasks)
    }
}

impl Http {
    /// `POST /v1/tasks` with one task.
    ///
    /// # Errors
    /// [`Error`]; whether it may have been published all the same says [`Error::outcome_unknown`].
    pub async fn publish(&mut self, task: &NewTask<'_>) -> Result<Published> {
        self.post("/v1/tasks", task).await
    }

    /// `POST /v1/tasks` with an array; every task stands for itself.
    ///
    /// # Errors
    /// When the batch as a whole failed.
    pub async fn publish_batch(&mut self, tasks: &[NewTask<'_>]) -> Result<Batch> {
        let answers: PublishResults = self.post("/v1/tasks", &tasks).await?;
        if answers.results.len() != tasks.len() {
            let (sent, got) = (tasks.len(), answers.results.len());
            return Err(Error::Protocol(format!("{got} results for a batch of {sent} tasks")));
        }
        let each = |result| match result {
            PublishResult::Published(published) => Ok(published),
            PublishResult::Refused(body) => Err(body.error),
        };
        Ok(answers.results.into_iter().map(each).collect())
    }

    /// `GET /v1/tasks/{id}`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn task(&mut self, id: TaskId) -> Result<TaskView> {
        self.get(&format!("/v1/tasks/{id}")).await
    }

    /// `DELETE /v1/tasks/{id}`: withdraws a task that no worker has.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel(&mut self, id: TaskId) -> Result<()> {
        self.call(Method::DELETE, &format!("/v1/tasks/{id}"), Bytes::new()).await?.accepted().map(drop)
    }

    /// `POST /v1/lanes/{lane}/lease`: takes up to `credit` tasks, waiting up to `wait_ms` for the first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lease(&mut self, lane: &str, credit: u32, wait_ms: u64) -> Result<Lease> {
        let body = to_json(&LeaseRequest { credit, wait_ms })?;
        let target = format!("/v1/lanes/{}/lease", escaped(lane));
        let request = request(Method::POST, &target, body)?;
        let answer = self.send(request, Duration::from_millis(wait_ms)).await?.accepted()?;
        Ok(Lease { body: answer.body })
    }

    /// `POST /v1/tasks/{id}/ack`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ack(&mut self, id: TaskId, receipt: Receipt) -> Result<()> {
        let body = to_json(&AckRequest { receipt })?;
        self.call(Method::POST, &format!("/v1/tasks/{id}/ack"), body).await?.accepted().map(drop)
    }

    /// `POST /v1/tasks/{id}/nack`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn nack(&mut self, id: TaskId, nack: &NackRequest) -> Result<()> {
        let body = to_json(nack)?;
        self.call(Method::POST, &format!("/v1/tasks/{id}/nack"), body).await?.accepted().map(drop)
    }

    /// `POST /v1/tasks/{id}/extend`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn extend(&mut self, id: TaskId, receipt: Receipt, for_ms: u64) -> Result<Extended> {
        self.post(&format!("/v1/tasks/{id}/extend"), &ExtendRequest { receipt, for_ms }).await
    }

    /// `POST /v1/sessions`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_session(&mut self, new: &NewSession) -> Result<SessionView> {
        self.post("/v1/sessions", new).await
    }

    /// `GET /v1/sessions/{id}`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn session(&mut self, id: &SessionId) -> Result<SessionView> {
        self.get(&format!("/v1/sessions/{id}")).await
    }

    /// `GET /v1/sessions`: newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sessions(
        &mut self,
        state: Option<SessionState>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<SessionView>> {
        let mut query = Query::new("/v1/sessions");
        query.add("state", state.map(SessionState::as_str));
        query.add("cursor", cursor);
        query.add("limit", Some(limit));
        self.get(query.target()).await
    }

    /// `PATCH /v1/sessions/{id}`: merges metadata.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_session(&mut self, id: &SessionId, update: &UpdateSession) -> Result<SessionView> {
        let body = to_json(update)?;
        self.call(Method::PATCH, &format!("/v1/sessions/{id}"), body).await?.json()
    }

    /// `POST /v1/sessions/{id}/heartbeat`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn heartbeat(&mut self, id: &SessionId) -> Result<SessionView> {
        self.call(Method::POST, &format!("/v1/sessions/{id}/heartbeat"), Bytes::new()).await?.json()
    }

    /// `POST /v1/sessions/{id}/end`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_session(&mut self, id: &SessionId, end: &EndSession) -> Result<SessionView> {
        self.post(&format!("/v1/sessions/{id}/end"), end).await
    }

    /// `GET /v1/sessions/{id}/report`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn session_report(&mut self, id: &SessionId) -> Result<SessionReport> {
        self.get(&format!("/v1/sessions/{id}/report")).await
    }

    /// `GET /v1/lanes`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lanes(&mut self) -> Result<Page<LaneView>> {
        self.get("/v1/lanes").await
    }

    /// `GET /v1/lanes/{lane}`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lane(&mut self, lane: &str) -> Result<LaneView> {
        self.get(&format!("/v1/lanes/{}", escaped(lane))).await
    }

    /// `POST /v1/lanes/{lane}/pause`: for a time, or until it is resumed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pause_lane(&mut self, lane: &str, for_ms: Option<u64>) -> Result<LaneView> {
        self.post(&format!("/v1/lanes/{}/pause", escaped(lane)), &PauseRequest { for_ms }).await
    }

    /// `POST /v1/lanes/{lane}/resume`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn resume_lane(&mut self, lane: &str) -> Result<LaneView> {
        self.call(Method::POST, &format!("/v1/lanes/{}/resume", escaped(lane)), Bytes::new()).await?.json()
    }

    /// `GET /v1/dead-letters`: oldest first; payloads only when `payload`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn dead_letters(
        &mut self,
        filter: &DeadLetterFilter,
        cursor: Option<&str>,
        limit: usize,
        payload: bool,
    ) -> Result<Page<DeadLetter>> {
        let mut query = Query::dead_letters(filter);
        query.add("cursor", cursor);
        query.add("limit", Some(limit));
        query.add("payload", payload.then_some(true));
        self.get(query.target()).await
    }

    /// `GET /v1/dead-letters/{id}`, with its payload.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn dead_letter(&mut self, id: TaskId) -> Result<DeadLetter> {
        self.get(&format!("/v1/dead-letters/{id}")).await
    }

    /// `POST /v1/dead-letters/{id}/replay`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn replay(&mut self, id: TaskId) -> Result<Handled> {
        self.call(Method::POST, &format!("/v1/dead-letters/{id}/replay"), Bytes::new()).await?.json()
    }

    /// `POST /v1/dead-letters/replay`: all that match, at a rate if one is given.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn replay_all(&mut self, which: &ReplayRequest) -> Result<Handled> {
        self.post("/v1/dead-letters/replay", which).await
    }

    /// `DELETE /v1/dead-letters/{id}`: deletes one for good.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn purge(&mut self, id: TaskId) -> Result<()> {
        self.call(Method::DELETE, &format!("/v1/dead-letters/{id}"), Bytes::new()).await?.accepted().map(drop)
    }

    /// `DELETE /v1/dead-letters`: deletes all that match for good.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn purge_all(&mut self, filter: &DeadLetterFilter) -> Result<Handled> {
        let query = Query::dead_letters(filter);
        self.call(Method::DELETE, query.target(), Bytes::new()).await?.json()
    }

    /// `GET /v1/events`: up to `limit` events after `after`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn events(
        &mut self,
        after: Option<Cursor>,
        limit: usize,
        topics: &[Topic],
        types: &[&str],
    ) -> Result<EventsPage> {
        let mut query = Query::new("/v1/events");
        query.add("after", after);
        query.add("limit", Some(limit));
        query.add_list("topics", topics.iter().map(|topic| topic.as_str()));
        query.add_list("types", types.iter().copied());
        self.get(query.target()).await
    }

    /// `GET /health`. A degraded or draining gateway answers too, so the status of the answer does not matter here.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn health(&mut self) -> Result<Health> {
        let answer = self.call(Method::GET, "/health", Bytes::new()).await?;
        parse(&answer.body).map_err(|_| answer.refusal())
    }

    /// `GET /ready`: true when it takes work.
    ///
    /// # Errors
    /// When it did not answer at all.
    pub async fn ready(&mut self) -> Result<bool> {
        Ok(self.call(Method::GET, "/ready", Bytes::new()).await?.status.is_success())
    }

    /// `GET /v1/metrics`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn stats(&mut self) -> Result<Stats> {
        self.get("/v1/metrics").await
    }

    /// `GET /metrics`: Prometheus text.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn metrics(&mut self) -> Result<String> {
        let answer = self.call(Method::GET, "/metrics", Bytes::new()).await?.accepted()?;
        String::from_utf8(answer.body.into()).map_err(|why| Error::Protocol(why.to_string()))
    }

    async fn get<T: DeserializeOwned>(&mut self, target: &str) -> Result<T> {
        self.call(Method::GET, target, Bytes::new()).await?.json()
    }

    async fn post<T: DeserializeOwned>(&mut self, target: &str, body: &impl Serialize) -> Result<T> {
        let body = to_json(body)?;
        self.call(Method::POST, target, body).await?.json()
    }

    async fn call(&mut self, method: Method, target: &str, body: Bytes) -> Result<Response> {
        self.send(request(method, target, body)?, Duration::ZERO).await
    }
}

const CONTENT_TYPE: HeaderName = header::CONTENT_TYPE;

fn request(method: Method, target: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
    let uri = Uri::try_from(target).map_err(|why| Error::Protocol(format!("{target:?} is not a path: {why}")))?;
    let json: Option<HeaderValue> = (!body.is_empty()).then_some(JSON);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    if let Some(json) = json {
        request.headers_mut().insert(CONTENT_TYPE, json);
    }
    Ok(request)
}

fn to_json(body: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|why| Error::Protocol(format!("cannot be sent: {why}")))
}
