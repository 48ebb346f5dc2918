/**
 * The page for a user whom an app sent with an invalid request: one sentence for the
 * user, one for the app's developer. Plain HTML, because the authorization server
 * answers it and not Next.
 */
export function errorPage(problem: { error: string; description?: string | undefined; returnTo?: URL | undefined }): string {
  const expired = problem.error === "invalid_request" && /session|expired/.test(problem.description ?? "");
  const title = expired ? "This request is over" : "This link is broken";
  const sentence = expired
    ? "It took too long, was answered already, or was begun in another browser. Nothing was shared. Go back to the app and start again."
    : "The app that sent you here made a request that does not work. Nothing was shared.";
  if (problem.error === "server_error")
    return pageOf("Quota failed to answer", "<p>Nothing was shared. Go back to the app and start again, in a moment.</p>");
  const back =
    problem.returnTo === undefined
      ? ""
      : `<p><a href="${escaped(problem.returnTo.href)}" rel="noreferrer">Return to ${escaped(problem.returnTo.host)}</a></p>`;
  const developer = `<p class="developer">For the app's developer: <code>${escaped(problem.error)}</code>${problem.description === undefined ? "" : `, ${escaped(problem.description)}`}.</p>`;
  return pageOf(title, `<p>${sentence}</p>\n${back}\n${developer}`);
}

/** The page for an address that has made too many requests. */
export function busyPage(seconds: number): string {
  const wait = seconds === 1 ? "a second" : `${seconds} seconds`;
  return pageOf(
    "Too many requests",
    `<p>More requests came from your network than we answer in a minute. Nothing was shared. Wait ${wait}, then load this page again.</p>`,
  );
}

/** The page while the database is unreachable. */
export function awayPage(): string {
  return pageOf("Quota is not available right now", "<p>Quota cannot reach its database. Load this page again in a moment.</p>");
}

function pageOf(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title} · Quota</title>
<style>
:root { color-scheme: light dark; --page: #f9fafa; --ink: #171c21; --soft: #596068; --line: #dfe3e6; --accent: #006b45; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1114; --ink: #eaedef; --soft: #a5acb3; --line: #2c3237; --accent: #5fd3a0; } }
body { margin: 0; min-height: 100dvh; display: flex; align-items: center; justify-content: center; background: var(--page); color: var(--ink); font: 15px/24px system-ui, sans-serif; }
main { box-sizing: border-box; width: 100%; max-width: 36rem; padding: 2rem 1rem; }
h1 { margin: 0 0 .5rem; font-size: 1.5rem; line-height: 2rem; letter-spacing: -.02em; }
p { margin: 0 0 1rem; color: var(--soft); overflow-wrap: anywhere; }
a { color: var(--accent); }
.developer { margin-top: 2rem; border-top: 1px solid var(--line); padding-top: 1rem; font-size: .875rem; }
code { font-family: ui-monospace, monospace; color: var(--ink); }
</style>
</head>
<body>
<main>
<h1>${title}</h1>
${body}
</main>
</body>
</html>`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
