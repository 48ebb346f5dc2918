import { publicUrl } from "#env";
import type { Demo } from "../../../prisma/seed.ts";
import { demoFile } from "../../../prisma/seed.ts";
import { isAnyConfigured, isSimulated } from "../gateway/providers.ts";
import { mailGoes } from "../platform/mail.ts";

/** The text that a ready server prints: addresses, demo accounts and commands to copy. `demo` is null without demo data. */
export async function welcome(demo: Demo | null): Promise<string> {
  const url = publicUrl();
  const provider = isSimulated()
    ? "No provider key is set, so the built-in simulator answers. Set OPENAI_API_KEY for real answers."
    : isAnyConfigured()
      ? "Requests go to the configured providers."
      : "No provider key is set, so requests get 503. Set OPENAI_API_KEY, or another provider's.";
  const mail = mailGoes() === "nowhere" ? "\n  SMTP_URL is not set, so no mail goes out and nobody can sign up by e-mail." : "";
  if (demo === null) return `\n  Quota is ready at ${url}\n  ${provider}${mail}\n`;
  const key = demo.api_keys.developer;
  const user = demo.user.external_user_id;
  return `
  Quota is ready at ${url}
  ${provider}${mail}

  Dashboard   ${url}/dashboard   ${demo.developer.email}   ${demo.developer.password}
  Wallet      ${url}/wallet      ${demo.user.email}   ${demo.user.password}

  A request, billed to ${user}'s wallet:

curl ${url}/v1/chat/completions \\
  -H "Authorization: Bearer ${key}" \\
  -H "X-Quota-User: ${user}" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Hello!"}]
  }'

  The same as a stream:

curl -N ${url}/v1/chat/completions \\
  -H "Authorization: Bearer ${key}" \\
  -H "X-Quota-User: ${user}" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'

  Look the linked user up:

curl ${url}/v1/users/${user} \\
  -H "Authorization: Bearer ${key}"

  Unlink them (the next start links them again):

curl -X DELETE ${url}/v1/users/${user}/link \\
  -H "Authorization: Bearer ${key}"

  All of this is in ${demoFile}. Stop with Ctrl+C.
`;
}
