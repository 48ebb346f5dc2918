import { readFile } from "node:fs/promises";
import path from "node:path";
import { parseEnv } from "#env";
import { errorTable } from "#server/platform/errors.ts";
import { eventTable } from "#server/webhooks/events.ts";
import { apiMarkdown } from "./api.ts";

/** The parts of pages that are generated from the code. */
const parts: Record<string, () => string | Promise<string>> = {
  errors: errorSections,
  api: apiMarkdown,
  settings,
  events,
  sdk,
};

export function generated(name: string | undefined): string | Promise<string> {
  const part = parts[name ?? ""];
  if (part === undefined) throw new Error(`Nothing is made under the name ${name}.`);
  return part();
}

/** One section for each error; its heading is the code, to which `docs_url` leads. */
function errorSections(): string {
  const rows = Object.entries(errorTable);
  const overview = rows.map(([code, { status, when }]) => `| ${status} | [\`${code}\`](#${code}) | ${when} |`);
  const sections = rows.map(([code, row]) => {
    const hint = "hint" in row ? row.hint : undefined;
    const error = { code, message: row.message, type: row.type, param: null, ...(hint && { hint }), docs_url: `…/docs/errors#${code}` };
    return [
      `## ${code}`,
      `Status ${row.status}. ${row.when}`,
      hint ?? advice(row.status),
      ["```json", JSON.stringify({ error }, null, 2), "```"].join("\n"),
    ].join("\n\n");
  });
  return ["| Status | Code | When |", "|---|---|---|", ...overview, "", sections.join("\n\n")].join("\n");
}

/** For errors without a hint in the table. */
function advice(status: number): string {
  return status >= 500
    ? "Send the request again after a pause. If it goes on, tell whoever runs the server the `X-Request-Id` of the answer."
    : "Correct the request and send it again; as it is, it would fail again.";
}

/** Each event type's meaning and a sample of its `data`. */
function events(): string {
  return Object.entries(eventTable)
    .map(([type, { when, sample }]) => `### ${type}\n\n${when}\n\n\`\`\`json\n${JSON.stringify(sample, null, 2)}\n\`\`\``)
    .join("\n\n");
}

/** The packages' reference, which `npm run sdk:reference` makes from their TSDoc. */
function sdk(): Promise<string> {
  return readFile(path.join(/* turbopackIgnore: true */ process.cwd(), "docs/sdk-reference.md"), "utf8");
}

/** Every setting with its default and its doc comment in src/env.ts. */
async function settings(): Promise<string> {
  const source = await readFile(path.join(/* turbopackIgnore: true */ process.cwd(), "src/env.ts"), "utf8");
  const fields = source.matchAll(/^ {2}\/\*\*\s*((?:(?!\*\/).)+?)\s*\*\/\n {2}([A-Z][A-Z0-9_]+):/gms);
  const rows = [...fields].map(([, words = "", name = ""]) => {
    const fallback = defaults[name as keyof typeof defaults];
    const value = fallback === undefined || fallback === false ? "" : `\`${String(fallback)}\``;
    return `| \`${name}\` | ${value} | ${words.replace(/\s*\n\s*\* ?/g, " ").replace(/^\* /, "")} |`;
  });
  return ["| Setting | Default | |", "|---|---|---|", ...rows].join("\n");
}
const defaults = parseEnv({});
