/**
 * Rows of the table of errors that only the dashboard answers with: for signing in, for proofs of identity, and for
 * actions that the state of an account or an app does not allow. They are not in the API reference. This file has no
 * imports, so that forms in the browser can use its sentences.
 */
export const dashboardErrors = {
  sign_in_required: {
    status: 401,
    type: "authentication_error",
    message: "Sign in to continue.",
    when: "The request has no session, or one that is over.",
  },
  wrong_password: {
    status: 400,
    type: "invalid_request_error",
    message: "This is not your password.",
    when: "A password that the person typed to prove who they are is wrong.",
  },
  password_required: {
    status: 412,
    type: "invalid_request_error",
    message: "Type your password to go on.",
    when: "An action that cannot be undone came without the password of a person who has one.",
  },
  fresh_sign_in_required: {
    status: 412,
    type: "invalid_request_error",
    message: "Sign in again to go on.",
    when: "An action that cannot be undone came from a person without a password whose sign-in is older than ten minutes.",
  },
  precondition_failed: {
    status: 412,
    type: "invalid_request_error",
    message: "The state of this account or app does not allow that.",
    when: "An account, app, key or link is in a state that excludes the action; the message names it.",
  },
  too_many_attempts: {
    status: 429,
    type: "rate_limit_error",
    message: "Too many attempts. Wait 15 minutes, then try again.",
    when: "One address or account exceeded the attempts that an hour allows.",
  },
  mail_unavailable: {
    status: 412,
    type: "api_error",
    message: "This server cannot send mail yet. Ask whoever runs it to set SMTP_URL.",
    when: "The server has no way to send mail, and the action needs one.",
  },
  sign_in_busy: {
    status: 503,
    type: "api_error",
    message: "Too many people are signing in right now. Try again in a moment.",
    when: "The queue of passwords to hash is full.",
  },
} as const;
