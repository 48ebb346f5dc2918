import { expect } from "@playwright/test";
import type { z } from "zod";
import { errorBody } from "../src/server/http/shapes.ts";
import { errorTable } from "../src/server/platform/errors.ts";
import { loadRoutes } from "../src/server/start/routes.ts";

/** A reply, read to its end. */
export type Answer = {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test asserts on whatever came
  json: any;
};

const routes = loadRoutes();

/**
 * What is true of every reply of /v1, whatever the test is about: it has a request
 * id, allows any origin, and its body is what the API reference says of this
 * operation, for success and for each error.
 */
export async function expectContract(method: string, url: string, answer: Answer): Promise<void> {
  const { pathname } = new URL(url);
  const operation = (await routes).find(pathname)?.get(method === "HEAD" ? "GET" : method)?.operation;
  expect(answer.headers.get("x-request-id"), "X-Request-Id").toMatch(/^req_[0-9a-f]{32}$/);
  expect(answer.headers.get("access-control-allow-origin")).toBe("*");
  if (answer.headers.get("content-type")?.startsWith("text/event-stream") || answer.text === "") return;
  expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
  if (answer.status === 200) {
    if (operation !== undefined) expectShape(operation.response, answer.json);
    return;
  }
  expectShape(errorBody, answer.json);
  const { code, type, docs_url } = answer.json.error as { code: string; type: string; docs_url: string };
  const row = new URL(docs_url).hash.slice(1) as keyof typeof errorTable;
  expect(errorTable[row]?.type, `docs_url names the error's row: ${docs_url}`).toBe(type);
  // A provider's refusal keeps the provider's status and code.
  if (code === row && row !== "bad_request") expect(answer.status).toBe(errorTable[row].status);
  if (operation !== undefined) expect(operation.errors, `${code} is in the reference of ${operation.path}`).toContain(row);
}

function expectShape(schema: z.ZodType, value: unknown): void {
  const parsed = schema.safeParse(value);
  expect(parsed.error?.issues ?? [], JSON.stringify(value)).toEqual([]);
}
