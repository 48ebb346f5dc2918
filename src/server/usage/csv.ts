import type { StatementEntry } from "./statement.ts";

/** A wallet's statement as a file. Amounts are whole credits, below zero when they were spent. */

const columns = [
  "time",
  "id",
  "kind",
  "app",
  "external_user_id",
  "model",
  "input_tokens",
  "output_tokens",
  "reserved_credits",
  "base_credits",
  "markup_credits",
  "amount_credits",
  "description",
] as const;

export const CSV_HEAD = `${columns.join(",")}\r\n`;

export function csvRow(entry: StatementEntry): string {
  const cells: Record<(typeof columns)[number], string> =
    entry.kind === "request"
      ? {
          time: entry.at.toISOString(),
          id: entry.requestId,
          kind: "request",
          app: cell(entry.appName),
          external_user_id: cell(entry.externalUserId ?? ""),
          model: cell(entry.model),
          input_tokens: String(entry.promptTokens),
          output_tokens: String(entry.completionTokens),
          reserved_credits: String(entry.held),
          base_credits: String(entry.base),
          markup_credits: String(entry.markup),
          amount_credits: String(entry.amount),
          description: "",
        }
      : {
          time: entry.at.toISOString(),
          id: entry.id,
          kind: entry.reason,
          app: cell(entry.appName ?? ""),
          external_user_id: cell(entry.amount < 0n ? (entry.externalUserId ?? "") : ""),
          model: "",
          input_tokens: "",
          output_tokens: "",
          reserved_credits: "",
          base_credits: "",
          markup_credits: "",
          amount_credits: String(entry.amount),
          description: cell(entry.description ?? ""),
        };
  return `${columns.map((column) => cells[column]).join(",")}\r\n`;
}

/** Texts come from others: quoted (RFC 4180), and with nothing in front that a spreadsheet takes for a formula. */
export function cell(value: string): string {
  const harmless = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
