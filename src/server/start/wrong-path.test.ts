import { describe, expect, test } from "vitest";
import { publicUrl } from "#env";
import { errorReply } from "../http/errors.ts";
import { hasWrongBaseUrl, unknownPath } from "./wrong-path.ts";

const errorAt = (path: string) =>
  JSON.parse(errorReply(unknownPath("POST", path), "req_1", {}).body as string).error as { message: string; hint: string };

describe("a path without a door", () => {
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
  ])("%s, which a client with a wrong base URL asks for, gets JSON with a hint that names the right one", (path) => {
    expect(hasWrongBaseUrl(path)).toBe(true);
    expect(errorAt(path).hint).toContain(`${publicUrl()}/v1`);
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
  ])("%s is answered by the pages", (path) => {
    expect(hasWrongBaseUrl(path)).toBe(false);
  });

  test("the hint for groq-sdk's path says to use another client", () => {
    expect(errorAt("/openai/v1/chat/completions").hint).toMatch(/groq-sdk .* use the openai package/);
  });

  test("the hint for a path with /v1 twice names the base URL of each client", () => {
    for (const path of ["/v1/v1/messages", "/v1/v1/chat/completions", "/v1/api/v1/models"])
      expect(errorAt(path).hint).toContain(`Anthropic's clients take ${publicUrl()}, OpenAI's ${publicUrl()}/v1`);
  });

  test("the error for an unknown path does not mention wallets", () => {
    for (const path of ["/v1/nothing", "/v1/audio/speech", "/v1/users/a/b/c", "/v1"]) {
      expect(errorAt(path).message).toBe(`There is nothing at POST ${path}.`);
      expect(JSON.stringify(errorAt(path))).not.toMatch(/wallet|person|connect/i);
    }
  });
});
