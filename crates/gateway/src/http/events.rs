//! `GET /v1/events`: the feed as JSON pages, or as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Deserialize;
use squall_protocol::event::FeedPage;
use squall_protocol::{Cursor, Epoch, ErrorBody};
use utoipa::IntoParams;

use super::extract::{Params, header, json, page_limit};
use crate::app::App;
use crate::auth::Caller;
use crate::config::Scope;
use crate::error::Refusal;
use crate::feed::hub::{READ_LIMIT, place};
use crate::feed::{Filter, Follower, Next};

/// A comment is sent after so long without an event, so that proxies and clients see that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Reads of the store for one JSON page, when most of what is read is not for this caller.
const MAX_READS: usize = 16;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Everything after this place: `<epoch>:<offset>`, or `<offset>`; 0 is the beginning. Absent: for a page the beginning, for a
    /// stream from now on.
    after: Option<String>,
    /// For a page: at most so many; 1 to 1,000, 100 by default.
    limit: Option<u64>,
    /// Only these topics, with commas between them: `sessions`, `tasks`, `lanes`, `dead_letters`, `graph`.
    pub(crate) topics: Option<String>,
    /// Only these event types, with commas between them.
    pub(crate) types: Option<String>,
    /// For a WebSocket: many events in one frame, `{"events":[…]}`, compressed where the client offers permessage-deflate.
    #[serde(default)]
    pub(crate) batch: bool,
}

impl Which {
    /// The place that was asked for.
    pub(crate) fn cursor(&self) -> Result<Option<Cursor>, Refusal> {
        self.after.as_deref().filter(|text| !text.is_empty()).map(|text| parse_cursor("after", text)).transpose()
    }
}

fn parse_cursor(what: &str, text: &str) -> Result<Cursor, Refusal> {
    text.parse().map_err(|error| Refusal::invalid(format!("{what} is {text:?}: {error}")))
}

/// Read the feed: a JSON page, or with `Accept: text/event-stream` everything from now on
///
/// As a stream each event has `id: <epoch>:<offset>`, `event: <event_type>` and the record as `data`; `Last-Event-ID` resumes.
/// What cannot be given is told as an event `gap`.
#[utoipa::path(get, path = "/v1/events", tag = "feed", params(Which,
    ("Last-Event-ID" = Option<String>, Header, description = "For a stream: as `after`, and before it")),
    responses(
    (status = 200, description = "A page, or the stream", content((FeedPage = "application/json"), (String = "text/event-stream"))),
    (status = 400, description = "`InvalidRequest`: a cursor or topic that is none", body = ErrorBody),
    (status = 503, description = "`TooManyConnections`: as many subscribers as may be", body = ErrorBody),
))]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Params(which): Params<Which>,
) -> Result<Response, Refusal> {
    caller.may(Scope::Read)?;
    let filter = Filter::parse(caller.sees(), which.topics.as_deref(), which.types.as_deref())?;
    let wants_stream = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| {
        accept.split(',').any(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
    });
    if wants_stream {
        app.accepts_work()?;
        let after = match header(&headers, "last-event-id")? {
            Some(id) if !id.is_empty() => Some(parse_cursor("Last-Event-ID", id)?),
            _ => which.cursor()?,
        };
        return Ok(stream_events(&app, app.hub.subscribe(after, filter).await?));
    }
    page(&app, &which, &filter).await
}

async fn page(app: &App, which: &Which, filter: &Filter) -> Result<Response, Refusal> {
    let limit = page_limit(which.limit)?;
    let (mut after, mut gap) = match which.cursor()? {
        Some(cursor) => place(&*app.store, cursor).await?,
        None => (0, None),
    };
    let mut items = Vec::new();
    for _ in 0..MAX_READS {
        let slice = app.store.read_feed(after, READ_LIMIT).await?;
        if let Some(missing) = slice.gap {
            if !items.is_empty() {
                // A page has its gap before its first item; this one begins the next page.
                break;
            }
            gap = gap.or(Some(missing));
            after = after.max(missing.to);
        }
        let read = slice.records.len();
        for record in slice.records {
            after = record.offset;
            if filter.passes(record.topic, &record.event_type, record.tenant.as_deref()) {
                items.push(record);
                if items.len() == limit {
                    break;
                }
            }
        }
        if items.len() == limit || read == 0 || after >= slice.head {
            break;
        }
    }
    let next = Cursor { epoch: Some(app.store.epoch()), offset: after }.to_string();
    Ok(json(&FeedPage { gap, items, next }))
}

struct Streaming {
    app: Arc<App>,
    follower: Follower,
    epoch: Epoch,
    over: bool,
}

fn stream_events(app: &Arc<App>, follower: Follower) -> Response {
    let state = Streaming { epoch: app.store.epoch(), app: Arc::clone(app), follower, over: false };
    let first = stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from_static(b": connected\n\n"))) });
    let rest = stream::unfold(state, |mut state| async move {
        if state.over {
            return None;
        }
        let text = state.next().await;
        Some((Ok(Frame::data(text)), state))
    });
    let body = Body::new(StreamBody::new(stream::StreamExt::chain(first, rest)));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}

impl Streaming {
    async fn next(&mut self) -> Bytes {
        let next = tokio::select! {
            next = self.follower.next() => next,
            () = tokio::time::sleep(HEARTBEAT) => return Bytes::from_static(b": alive\n\n"),
            () = self.app.stopping.cancelled() => {
                self.over = true;
                return Bytes::from_static(b": the gateway drains\n\n");
            }
        };
        let mut text = Vec::new();
        match next {
            Next::Chunks(chunks, from) => {
                for (i, chunk) in chunks.iter().enumerate() {
                    for view in chunk.views(if i == 0 { from } else { 0 }, &self.follower.filter) {
                        render(&mut text, self.epoch, &view);
                    }
                }
                if text.is_empty() {
                    text.extend_from_slice(b":\n\n");
                }
            }
            Next::Overran => {
                self.over = true;
                text.extend_from_slice(b": too far behind: come back with Last-Event-ID\n\n");
            }
            Next::Failed(error) => {
                tracing::warn!(%error, "a stream ends: the feed cannot be read");
                self.over = true;
                text.extend_from_slice(b": the feed cannot be read just now\n\n");
            }
        }
        text.into()
    }
}

fn render(text: &mut Vec<u8>, epoch: Epoch, view: &crate::feed::chunk::View<'_>) {
    use std::io::Write;
    // Writing to a vector cannot fail. A record is one line: JSON text from serde holds no line break.
    let _ = match view.event {
        Some((offset, event_type)) => write!(text, "id: {epoch}:{offset}\nevent: {event_type}\ndata: "),
        None => write!(text, "event: gap\ndata: "),
    };
    text.extend_from_slice(view.json);
    text.extend_from_slice(b"\n\n");
}
