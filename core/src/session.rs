//! The caller's identity, from a token or from the resolver.

mod fields;
mod token;

pub use fields::{stripped_header, Field, Fields, ResolverError};
pub(crate) use token::TokenSession;

/// A verified caller: the resolver's eight values, and what only a JWT says. No value holds a
/// control character.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Session<'a> {
    fields: Fields<'a>,
    token: Option<&'a TokenSession>,
}

impl<'a> Session<'a> {
    /// The session of a token.
    pub(crate) fn of_token(token: &'a TokenSession) -> Self {
        Session {
            fields: token.fields(),
            token: Some(token),
        }
    }

    /// The session that the resolver vouches for.
    pub fn resolved(fields: Fields<'a>) -> Self {
        Session {
            fields,
            token: None,
        }
    }

    /// All values that the resolver has too.
    pub fn fields(&self) -> &Fields<'a> {
        &self.fields
    }

    /// One of them; see [`Fields::get`].
    pub fn get(&self, field: Field) -> Option<&'a str> {
        self.fields.get(field)
    }

    /// Tells whether the user has that role.
    ///
    /// A JWT lists roles one by one, and they are compared so: a role that holds a comma is one
    /// role. The resolver joins them with commas in one header, so what stands between two commas is
    /// a role there. A client has none, whatever its token claims.
    pub fn has_role(&self, role: &str) -> bool {
        match self.token {
            Some(token) => token.has_role(role),
            None => self
                .get(Field::UserRoles)
                .is_some_and(|roles| roles.split(',').any(|own| own == role)),
        }
    }

    /// `client_id`; only a JWT says it.
    pub fn client_id(&self) -> Option<&'a str> {
        filled(self.token?.client_id())
    }

    /// `scope`, separated by spaces; only a JWT says it.
    pub fn scope(&self) -> Option<&'a str> {
        filled(self.token?.scope())
    }

    /// `jti`; only a JWT says it.
    pub fn token_id(&self) -> Option<&'a str> {
        filled(self.token?.token_id())
    }

    /// `kid` of the JOSE header; only a JWT says it.
    pub fn kid(&self) -> Option<&'a str> {
        filled(self.token?.kid())
    }

    /// `exp` in whole Unix seconds, any fraction cut off; only a JWT says it.
    pub fn token_exp(&self) -> Option<&'a str> {
        Some(self.token?.token_exp())
    }

    /// `user` or `client`; only a JWT says it.
    pub fn token_type(&self) -> Option<&'static str> {
        let is_client = self.token?.is_client();
        Some(if is_client { "client" } else { "user" })
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
