import { requestIdOf } from "../platform/ids.ts";
import { type Cell, csvHead, csvLine } from "./csv-cells.ts";
import type { RequestItem } from "./dashboard.ts";

/** An app's requests as a file. Amounts are whole credits. */

const columns = [
  "time",
  "request_id",
  "status",
  "external_user_id",
  "billing_mode",
  "api_key",
  "endpoint",
  "model",
  "provider",
  "upstream_status",
  "stream",
  "duration_ms",
  "input_tokens",
  "cached_tokens",
  "output_tokens",
  "held_credits",
  "base_credits",
  "markup_credits",
  "paid_credits",
] as const;

export const REQUESTS_HEAD = csvHead(columns);

export function requestRow(item: RequestItem & { apiKey: { name: string; fragment: string } | null }): string {
  const cells: Record<(typeof columns)[number], Cell> = {
    time: item.createdAt.toISOString(),
    request_id: requestIdOf(item.id),
    status: item.outcome,
    external_user_id: item.externalUserId,
    billing_mode: item.billingMode,
    api_key: item.apiKey?.name ?? null,
    endpoint: item.endpoint,
    model: item.model,
    provider: item.provider,
    upstream_status: item.upstreamStatus,
    stream: item.streamed,
    duration_ms: item.durationMs,
    input_tokens: item.promptTokens,
    cached_tokens: item.cachedTokens,
    output_tokens: item.completionTokens,
    held_credits: item.held,
    base_credits: item.base,
    markup_credits: item.markup,
    paid_credits: item.base + item.markup,
  };
  return csvLine(columns.map((column) => cells[column]));
}
