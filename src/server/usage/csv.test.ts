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

test("a request has a cell for every column", () => {
  expect(csvRow(request)).toBe(
    "2026-11-22T10:00:00.000Z,req_01890000000070008000000000000000,request,Acme Chat,user_123,gpt-4o,10,20,500,100,20,-120,\r\n",
  );
  expect(CSV_HEAD.split(",")).toHaveLength(csvRow(request).split(",").length);
});

test("so has a transfer", () => {
  const gift = { appName: "Acme Chat", externalUserId: "user_123", paymentId: null };
  const row = csvRow({ kind: "transfer", id: "t", at, amount: 1_000_000n, reason: "funding", description: "Thanks", ...gift });
  expect(row).toBe("2026-11-22T10:00:00.000Z,t,funding,Acme Chat,,,,,,,,1000000,Thanks\r\n");
});

test("what others wrote is quoted, and never a formula", () => {
  const row = csvRow({ ...request, appName: '=HYPERLINK("https://evil.example","x")', externalUserId: "a\nb" });
  expect(row).toContain(`,"'=HYPERLINK(""https://evil.example"",""x"")","a\nb",`);
});
