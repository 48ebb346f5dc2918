import { type Cell, csvHead, csvLine } from "./csv-cells.ts";
import type { StatementEntry } from "./statement.ts";

/** A wallet's statement as a file. Amounts are whole credits, negative for spending. */

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

export const CSV_HEAD = csvHead(columns);

export function csvRow(entry: StatementEntry): string {
  const cells: Record<(typeof columns)[number], Cell> =
    entry.kind === "request"
      ? {
          time: entry.at.toISOString(),
          id: entry.requestId,
          kind: "request",
          app: entry.appName,
          external_user_id: entry.externalUserId,
          model: entry.model,
          input_tokens: entry.promptTokens,
          output_tokens: entry.completionTokens,
          reserved_credits: entry.held,
          base_credits: entry.base,
          markup_credits: entry.markup,
          amount_credits: entry.amount,
          description: null,
        }
      : {
          time: entry.at.toISOString(),
          id: entry.id,
          kind: entry.reason,
          app: entry.appName,
          external_user_id: entry.amount < 0n ? entry.externalUserId : null,
          model: null,
          input_tokens: null,
          output_tokens: null,
          reserved_credits: null,
          base_credits: null,
          markup_credits: null,
          amount_credits: entry.amount,
          description: entry.description,
        };
  return csvLine(columns.map((column) => cells[column]));
}
