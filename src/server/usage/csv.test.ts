import { parse } from "csv-parse/sync";
import { expect, test } from "vitest";
import { CSV_HEAD, csvRow } from "./csv.ts";

const at = new Date("2026-11-22T10:00:00.000Z");
const request = {
  kind: "request" as const,
  id: "01890000-0000-7000-8000-000000000000",
  requestId: "req_01890000000070008000000000000000",
  at,
  amount: -120n,
  appId: "01890000-0000-7000-8000-000000000001",
  appName: "Acme Chat",
  externalUserId: "user_123",
  billingMode: "user" as const,
  model: "gpt-4o",
  endpoint: "/v1/chat/completions",
  promptTokens: 10,
  completionTokens: 20,
  held: 500n,
  base: 100n,
  markup: 20n,
  interrupted: false,
};

const read = (row: string): Record<string, string>[] => parse(CSV_HEAD + row, { bom: true, columns: true, relax_column_count: false });

test("a request has a cell for every column", () => {
  expect(read(csvRow(request))).toEqual([
    {
      time: "2026-11-22T10:00:00.000Z",
      id: "req_01890000000070008000000000000000",
      kind: "request",
      app: "Acme Chat",
      external_user_id: "user_123",
      model: "gpt-4o",
      input_tokens: "10",
      output_tokens: "20",
      reserved_credits: "500",
      base_credits: "100",
      markup_credits: "20",
      amount_credits: "-120",
      description: "",
    },
  ]);
  // Without quotes, so that a spreadsheet adds the numbers up.
  expect(csvRow(request)).toContain(",10,20,500,100,20,-120,");
});

test("a transfer has a cell for every column", () => {
  const gift = { appName: "Acme Chat", externalUserId: "user_123", paymentId: null };
  const [row] = read(csvRow({ kind: "transfer", id: "t", at, amount: 1_000_000n, reason: "funding", description: "Thanks", ...gift }));
  expect(row).toMatchObject({
    id: "t",
    kind: "funding",
    app: "Acme Chat",
    external_user_id: "",
    model: "",
    amount_credits: "1000000",
    description: "Thanks",
  });
});

test("text of other users stays in one cell and is never a formula", () => {
  const [row] = read(csvRow({ ...request, appName: '=HYPERLINK("https://evil.example","x")', externalUserId: "a\nb" }));
  expect(row).toMatchObject({ app: `'=HYPERLINK("https://evil.example","x")`, external_user_id: "a\nb" });
});
