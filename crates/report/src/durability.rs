//! What a target says of its durability (`/health`), as a sentence on what may be lost. It explains a loss and excuses none: the
//! verdict on a run does not depend on it.

/// What the setting allows to be lost; `None` when it allows nothing, or when nobody can tell.
///
/// `durability` is what `/health` says: `commit`, `interval 100 ms`, or what a Redis is set to.
#[must_use]
pub fn may_lose(durability: &str) -> Option<String> {
    let settings: [(&str, &str); 4] = [
        ("interval", "what was acknowledged since the last sync may be lost when the machine dies"),
        (
            "appendfsync everysec",
            "up to a second of acknowledged work, two when the disk is slow, may be lost when Redis or its machine dies",
        ),
        (
            "appendfsync no",
            "what was acknowledged, and the system has not yet written to disk, may be lost when Redis's machine dies",
        ),
        ("appendonly no", "all that was acknowledged since the last snapshot is lost when Redis ends"),
    ];
    let (setting, allows) = settings.into_iter().find(|(setting, _)| durability.starts_with(setting))?;
    Some(match setting {
        // With its milliseconds.
        "interval" => format!("{durability}: {allows}"),
        _ => format!("Redis with {setting}: {allows}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_setting_allows() {
        for (durability, begins) in [
            ("commit", None),
            ("appendfsync always: an acknowledgement means it is on Redis's disk", None),
            ("what an acknowledgement means is this Redis's own setting, which it does not tell", None),
            ("interval 100 ms", Some("interval 100 ms: what was acknowledged since")),
            ("appendfsync everysec: what was", Some("Redis with appendfsync everysec: up to a second")),
            ("appendfsync no: the system", Some("Redis with appendfsync no: what was")),
            ("appendonly no: what was", Some("Redis with appendonly no: all that was")),
        ] {
            let said = may_lose(durability);
            let fine = begins.map_or(said.is_none(), |begins| said.as_ref().is_some_and(|it| it.starts_with(begins)));
            assert!(fine, "{durability}: {said:?}");
        }
    }
}
