import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { errorTable } from "./errors.ts";

export const errorsPage = fileURLToPath(new URL("../../../docs/errors.md", import.meta.url));

/** The text of docs/errors.md, made from the table. `npm run errors:write` writes the file; a test compares the two. */
export function errorsMarkdown(): string {
  const rows = Object.entries(errorTable).map(([code, row]) => {
    const hint = "hint" in row ? `\n\n${row.hint}` : "";
    return `## ${code}\n\nStatus ${row.status}, type \`${row.type}\`.\n\n${row.when}\n\n> ${row.message}${hint}\n`;
  });
  return `# Errors

Every error on \`/v1\` has one shape; \`type\` and \`param\` follow OpenAI's, so that their clients fill their fields:

\`\`\`json
{"error": {"code": "insufficient_credits", "message": "…", "type": "insufficient_quota", "param": null, "hint": "…", "docs_url": "…"}}
\`\`\`

Where a provider refused the request itself (a context that is too long, a bad tool schema), its own status, message, \`param\` and \`code\` are passed on.

${rows.join("\n")}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(errorsPage, errorsMarkdown());
