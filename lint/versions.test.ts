import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { repository } from "./imports.ts";

type Manifest = {
  engines: { node: string };
  devEngines: { runtime: { version: string } };
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};

const read = (file: string) => readFileSync(path.join(repository, file), "utf8");
const manifest = JSON.parse(read("package.json")) as Manifest;

describe("the Node that everything runs on is the one that npm ci installs", () => {
  const installed = manifest.dependencies.node ?? "";

  test("is pinned", () => {
    expect(installed).toMatch(/^\d+\.\d+\.\d+$/);
    const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, { version?: string; engines?: object }> };
    expect(packages["node_modules/node"]?.version).toBe(installed);
    expect(packages[""]?.engines).toEqual(manifest.engines);
  });

  test("is that of package.json's engines", () => {
    expect(manifest.engines.node).toBe(`>=${installed}`);
  });

  test("is that of the image", () => {
    const images = [...read("Dockerfile").matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
    expect(new Set(images)).toEqual(new Set([`node:${installed}-slim`]));
  });

  test("has the major version of the types", () => {
    expect(manifest.devDependencies["@types/node"]?.split(".")[0]).toBe(installed.split(".")[0]);
  });
});

describe("the Node that a reader needs is that of devEngines", () => {
  const { version } = manifest.devEngines.runtime;
  const inWords = `Node ${[...version.matchAll(/(\d+\.\d+)\.0/g)].map(([, each]) => `${each}+`).join(" or ")}`;

  test.each(["README.md", "CONTRIBUTING.md", "docs/site/self-hosting.md", "packages/core/README.md"])("in %s", (file) => {
    expect(read(file)).toContain(inWords);
  });

  test("in every other document that names a required version", () => {
    const documents = globSync(["*.md", "docs/**/*.md", "packages/*/*.md", "examples/*/*.md"], { cwd: repository });
    expect(documents.length).toBeGreaterThan(30);
    const named = documents.flatMap((file) =>
      [...read(file).matchAll(/Node(?:\.js)? \d[\d.]*\+(?: or \d[\d.]*\+)?/g)].map(([words]) => ({ file, words })),
    );
    expect(named.filter(({ words }) => words !== inWords)).toEqual([]);
  });

  test.each(["packages/core/package.json", "packages/nextjs/package.json"])("in %s", (file) => {
    expect((JSON.parse(read(file)) as Manifest).engines.node).toBe(version);
  });
});

test("the workflow runs .ci/run, with actions pinned to a commit", () => {
  const workflow = read(".github/workflows/ci.yml");
  expect([...workflow.matchAll(/run: (.+)$/gm)].map(([, command]) => command)).toEqual([".ci/run"]);
  for (const [, action] of workflow.matchAll(/uses: (\S+)/g)) expect(action).toMatch(/^actions\/[a-z-]+@[0-9a-f]{40}$/);
});
