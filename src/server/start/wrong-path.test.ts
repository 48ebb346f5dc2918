import { describe, expect, test } from "vitest";
import { publicUrl } from "#env";
import { errorReply } from "../http/errors.ts";
import { isMeantForApi, nothingAt } from "./wrong-path.ts";

const told = (path: string) =>
  JSON.parse(errorReply(nothingAt("POST", path), "req_1", {}).body as string).error as { message: string; hint: string };

describe("a path that nothing is at", () => {
  test.each([
    "/openai/v1/chat/completions",
    "/openai/v1/models",
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings?x=1",
    "/models",
    "/messages",
    "/api/chat/completions",
    "/api/v1/chat/completions",
    "/anthropic/messages",
  ])("%s is asked by a client with another base URL: it gets JSON that names the right one", (path) => {
    expect(isMeantForApi(path)).toBe(true);
    expect(told(path).hint).toContain(`${publicUrl()}/v1`);
  });

  test.each([
    "/",
    "/docs",
    "/docs/models",
    "/dashboard",
    "/api/trpc/a",
    "/api/v1",
    "/api/auth/session",
    "/modelsx",
    "/openai",
    "/oauth/token",
  ])("%s is left to the pages", (path) => {
    expect(isMeantForApi(path)).toBe(false);
  });

  test("groq-sdk, which has its own path, is told to use another client", () => {
    expect(told("/openai/v1/chat/completions").hint).toMatch(/groq-sdk .* use the openai package/);
  });

  test("/v1 that stands twice is told as such", () => {
    for (const path of ["/v1/v1/messages", "/v1/v1/chat/completions", "/v1/api/v1/models"])
      expect(told(path).hint).toContain(`Anthropic's clients take ${publicUrl()}, OpenAI's ${publicUrl()}/v1`);
  });

  test("an unknown path says nothing of wallets", () => {
    for (const path of ["/v1/nothing", "/v1/audio/speech", "/v1/users/a/b/c", "/v1"]) {
      expect(told(path).message).toBe(`There is nothing at POST ${path}.`);
      expect(JSON.stringify(told(path))).not.toMatch(/wallet|person|connect/i);
    }
  });
});
