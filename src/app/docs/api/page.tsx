import type { Metadata } from "next";
import { apiOperations, exampleBody } from "../_content/api.ts";
import { readPage } from "../_content/source.ts";
import { Article } from "../article.tsx";
import { TryIt } from "./try-it.tsx";

export const metadata: Metadata = {
  title: "API reference",
  description: "Every operation of /v1, made from openapi.json, with a form to try it.",
  alternates: { types: { "text/markdown": "/docs/api.md" } },
};

/** A sandbox wallet is refilled automatically, so checkouts refuse the `test` keys that the form uses. */
const NOT_IN_THE_SANDBOX = "POST /v1/checkout";

export default async function Page() {
  const page = await readPage("api");
  if (page === null) throw new Error("docs/site/api.md is missing.");
  const operations = new Map((await apiOperations()).map((operation) => [operation.name, operation]));
  return (
    <Article
      page={page}
      insert={(name) => {
        const operation = operations.get(name);
        if (operation === undefined || operation.name === NOT_IN_THE_SANDBOX) return null;
        const { method, path, summary, parameters, public: open } = operation;
        return (
          <TryIt
            method={method}
            path={path}
            summary={summary}
            open={open}
            parameters={parameters.map(({ name: parameter, in: place, required }) => ({ name: parameter, in: place, required }))}
            body={exampleBody(operation)}
          />
        );
      }}
    />
  );
}
