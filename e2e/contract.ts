import { expect } from "@playwright/test";
import { errorTable } from "../src/server/platform/errors.ts";
import { documented, problemsWith, schemaOf } from "./openapi.ts";

/** An answer with its body. */
export type Answer = {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test asserts on whatever came
  json: any;
};

/**
 * Checks what holds for every answer of /v1: a request id, CORS for any origin, and a status and
 * body as in openapi.json, without undocumented fields.
 */
export async function expectContract(method: string, url: string, answer: Answer): Promise<void> {
  const operation = (await documented(method, new URL(url).pathname))?.operation;
  expect(answer.headers.get("x-request-id"), "X-Request-Id").toMatch(/^req_[0-9a-f]{32}$/);
  expect(answer.headers.get("access-control-allow-origin")).toBe("*");
  const type = answer.headers.get("content-type")?.split(";")[0];
  if (operation !== undefined) {
    const schema = schemaOf(operation, answer.status, type);
    expect(schema, `${answer.status} ${type} of ${operation.operationId} is in openapi.json`).not.toBeNull();
    if (type === "application/json" && answer.text !== "")
      expect(await problemsWith(schema, answer.json), `${operation.operationId}: ${answer.text}`).toEqual([]);
  }
  if (type === "text/event-stream" || answer.text === "") return;
  expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
  if (answer.status !== 200) expectError(answer, operation);
}

function expectError(
  answer: Answer,
  operation: { operationId: string; responses: Record<string, { description: string }> } | undefined,
): void {
  const { code, type, docs_url } = answer.json.error as { code: string; type: string; docs_url: string };
  const row = new URL(docs_url).hash.slice(1) as keyof typeof errorTable;
  expect(errorTable[row]?.type, `docs_url names the error's row: ${docs_url}`).toBe(type);
  // A refusal of the provider keeps the provider's status and code.
  if (code === row && row !== "bad_request") expect(answer.status).toBe(errorTable[row].status);
  if (operation === undefined) return;
  const described = operation.responses[errorTable[row].status]?.description ?? "";
  expect(described, `${row} is in the reference of ${operation.operationId}`).toContain(`\`${row}\`:`);
}
