//! One Authgear project: its users, what was issued to them, its keys and its counters.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::fault::Endpoint;
use crate::keys::KeyRing;
use crate::util::{now, random_token};
use crate::webhook::Webhooks;

/// Number of the latest requests that are remembered.
const REMEMBERED: usize = 50;

/// A user, as the resolver and the tokens describe one.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// The user id; a UUID unless the test chose another.
    pub id: String,
    /// `X-Authgear-User-Anonymous`.
    pub anonymous: bool,
    /// `X-Authgear-User-Verified`.
    pub verified: bool,
    /// `X-Authgear-User-Can-Reauthenticate`.
    pub can_reauthenticate: bool,
    /// Effective roles.
    pub roles: Vec<String>,
    /// A disabled user's sessions and tokens are invalid while there are any.
    pub disabled: bool,
    /// The time from which the user is disabled, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_from: Option<i64>,
}

impl User {
    /// Tells whether the user is disabled now.
    pub fn is_disabled(&self) -> bool {
        self.disabled || self.disabled_from.is_some_and(|from| from <= now())
    }
}

/// The given properties of a new user; the others have defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct NewUser {
    pub id: Option<String>,
    pub anonymous: Option<bool>,
    pub verified: Option<bool>,
    pub can_reauthenticate: Option<bool>,
    pub roles: Option<Vec<String>>,
}

/// A user by id, or to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum UserRef {
    /// An id; a user of that id is made when there is none.
    Id(String),
    /// A user to be made, or changed when the id exists.
    New(NewUser),
}

/// The way in which a session or token was obtained.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose it is.
    pub user: String,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// When the user logged in, in Unix seconds.
    pub auth_time: Option<i64>,
    /// When an opaque token ends; a JWT says so itself, a session does not end.
    pub expires_at: Option<i64>,
}

/// The grant of a refresh token.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Refresh {
    pub user: String,
    pub client: String,
    /// Unix seconds.
    pub auth_time: i64,
}

/// The two kinds of cookie session.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// The identity provider's own, in the cookie `session`.
    #[default]
    Idp,
    /// An app's, in the cookie `app_session`.
    App,
}

/// A request to the resolver, as received.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct SeenResolve {
    pub method: String,
    pub uri: String,
    pub headers: HashMap<String, Vec<String>>,
}

/// A request for a document, as received.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct SeenFetch {
    pub host: String,
    pub x_forwarded_proto: Option<String>,
}

/// Number of requests to each endpoint, and the latest of them.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Counts {
    pub discovery: u64,
    pub jwks: u64,
    pub resolver: u64,
    pub resolver_requests: VecDeque<SeenResolve>,
    pub jwks_requests: VecDeque<SeenFetch>,
    pub discovery_requests: VecDeque<SeenFetch>,
}

impl Counts {
    /// Counts a request for a document.
    pub fn fetch(&mut self, endpoint: Endpoint, seen: SeenFetch) {
        let (count, requests) = match endpoint {
            Endpoint::Discovery => (&mut self.discovery, &mut self.discovery_requests),
            Endpoint::Jwks | Endpoint::Resolver => (&mut self.jwks, &mut self.jwks_requests),
        };
        *count += 1;
        remember(requests, seen);
    }

    /// Counts a request to the resolver.
    pub fn resolve(&mut self, seen: SeenResolve) {
        self.resolver += 1;
        remember(&mut self.resolver_requests, seen);
    }
}

fn remember<T>(requests: &mut VecDeque<T>, request: T) {
    if requests.len() == REMEMBERED {
        requests.pop_front();
    }
    requests.push_back(request);
}

/// The client that browsers log in for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Client {
    pub client_id: String,
    pub redirect_uris: Vec<String>,
    #[serde(default)]
    pub post_logout_redirect_uris: Vec<String>,
    /// Authgear's `http.cookie_domain`.
    pub cookie_domain: Option<String>,
}

/// The state of one project.
pub struct Project {
    /// Its keys.
    pub keys: KeyRing,
    /// A document served in place of the key set.
    pub raw_jwks: Option<Bytes>,
    /// Counters.
    pub counts: Counts,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// The client that browsers log in for.
    pub client: Option<Client>,
    users: HashMap<String, User>,
    sessions: HashMap<(SessionKind, String), Grant>,
    opaque: HashMap<String, Grant>,
    issued: HashMap<String, Grant>,
    refresh: HashMap<String, Refresh>,
    revoked: HashSet<String>,
}

impl Project {
    /// A project with nobody in it.
    pub fn new(keys: KeyRing) -> Self {
        Self {
            keys,
            raw_jwks: None,
            counts: Counts::default(),
            webhooks: Webhooks::default(),
            client: None,
            users: HashMap::new(),
            sessions: HashMap::new(),
            opaque: HashMap::new(),
            issued: HashMap::new(),
            refresh: HashMap::new(),
            revoked: HashSet::new(),
        }
    }

    /// The domain of the session's cookie; `None` for the server's own host alone.
    pub fn cookie_domain(&self) -> Option<&str> {
        self.client.as_ref()?.cookie_domain.as_deref()
    }

    /// Makes a user, or changes what is said of an existing one.
    pub fn put_user(&mut self, new: NewUser) -> User {
        let id = new.id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let user = self.users.entry(id).or_insert_with_key(|id| User {
            id: id.clone(),
            anonymous: false,
            verified: true,
            can_reauthenticate: true,
            roles: Vec::new(),
            disabled: false,
            disabled_from: None,
        });
        user.anonymous = new.anonymous.unwrap_or(user.anonymous);
        user.verified = new.verified.unwrap_or(user.verified);
        user.can_reauthenticate = new.can_reauthenticate.unwrap_or(user.can_reauthenticate);
        if let Some(roles) = new.roles {
            user.roles = roles;
        }
        user.clone()
    }

    /// The user meant, made when missing.
    pub fn user_for(&mut self, reference: Option<UserRef>) -> User {
        match reference {
            Some(UserRef::Id(id)) => self.put_user(NewUser {
                id: Some(id),
                ..NewUser::default()
            }),
            Some(UserRef::New(new)) => self.put_user(new),
            None => self.put_user(NewUser::default()),
        }
    }

    /// The user of this id.
    pub fn user(&self, id: &str) -> Option<&User> {
        self.users.get(id)
    }

    /// The user of this id, to be changed.
    pub fn user_mut(&mut self, id: &str) -> Option<&mut User> {
        self.users.get_mut(id)
    }

    /// Deletes a user, with all that was issued to one; false when there is none.
    pub fn delete_user(&mut self, id: &str) -> bool {
        self.end_sessions(id);
        self.users.remove(id).is_some()
    }

    /// Ends all sessions and grants of a user, for good.
    pub fn end_sessions(&mut self, user: &str) {
        self.sessions.retain(|_, grant| grant.user != user);
        self.opaque.retain(|_, grant| grant.user != user);
        self.refresh.retain(|_, refresh| refresh.user != user);
        let (ended, issued) = std::mem::take(&mut self.issued)
            .into_iter()
            .partition(|(_, grant)| grant.user == user);
        let ended: HashMap<String, Grant> = ended;
        self.issued = issued;
        self.revoked.extend(ended.into_keys());
    }

    /// Opens a session under this cookie value.
    pub fn open_session(&mut self, kind: SessionKind, value: String, grant: Grant) {
        self.sessions.insert((kind, value), grant);
    }

    /// Ends a session of either kind; false when there is none.
    pub fn close_session(&mut self, value: &str) -> bool {
        let mut close = |kind| self.sessions.remove(&(kind, value.to_owned())).is_some();
        let (idp, app) = (close(SessionKind::Idp), close(SessionKind::App));
        idp || app
    }

    /// The session behind a cookie's value.
    pub fn session(&self, kind: SessionKind, value: &str) -> Option<&Grant> {
        self.sessions.get(&(kind, value.to_owned()))
    }

    /// Remembers an opaque token.
    pub fn issue_opaque(&mut self, token: String, grant: Grant) {
        self.opaque.insert(token, grant);
    }

    /// The grant behind an opaque token that has not expired.
    pub fn opaque(&self, token: &str) -> Option<&Grant> {
        let live = |grant: &&Grant| grant.expires_at.is_none_or(|end| now() < end);
        self.opaque.get(token).filter(live)
    }

    /// Forgets an opaque token; false when there is none.
    pub fn revoke_opaque(&mut self, token: &str) -> bool {
        self.opaque.remove(token).is_some()
    }

    /// Makes a refresh token.
    pub fn issue_refresh(&mut self, refresh: Refresh) -> String {
        let token = random_token();
        self.refresh.insert(token.clone(), refresh);
        token
    }

    /// The grant of a refresh token.
    pub fn refresh(&self, token: &str) -> Option<&Refresh> {
        self.refresh.get(token)
    }

    /// Revokes a refresh token and, as each user here logs in once, all sessions of its user; false
    /// when there is none.
    pub fn revoke_refresh(&mut self, token: &str) -> bool {
        let refresh = self.refresh.remove(token);
        if let Some(refresh) = &refresh {
            self.end_sessions(&refresh.user);
        }
        refresh.is_some()
    }

    /// Remembers a JWT by its `jti`.
    pub fn issue(&mut self, jti: String, grant: Grant) {
        self.issued.insert(jti, grant);
    }

    /// The grant behind a JWT made here.
    pub fn issued(&self, jti: &str) -> Option<&Grant> {
        self.issued.get(jti)
    }

    /// Makes the JWT of this `jti` invalid for the resolver.
    pub fn revoke(&mut self, jti: String) {
        self.issued.remove(&jti);
        self.revoked.insert(jti);
    }

    /// Tells whether the JWT of this `jti` was revoked.
    pub fn is_revoked(&self, jti: &str) -> bool {
        self.revoked.contains(jti)
    }
}
