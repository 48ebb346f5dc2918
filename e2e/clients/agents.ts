import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readFence } from "../../src/app/docs/_content/code.ts";

/**
 * Coding agents that are installed from npm. `npm run clients` runs each by its recipe in docs/site/clients.md, with a
 * message that makes the simulator call the agent's tool for shell commands. The tool writes a file, and the agent sends
 * its result in a second request.
 */
export type CodingAgent = {
  name: string;
  package: string;
  version: string;
  /** The recipe's heading in docs/site/clients.md. */
  recipe: string;
  /** The recipe's file: the language of its code block, and its path in the home directory or in the project. */
  file?: { language: string; home?: string; project?: string };
  /** A part of the recipe's command and its replacement, to use another model. */
  replacement?: [string, string];
  /** The agent's tool for shell commands, and the tool's input for a command. */
  tool: string;
  input(command: string): object;
  /** Flags that let the agent run the command without a confirmation. */
  flags?: string;
};

const page = path.join(fileURLToPath(new URL("../../", import.meta.url)), "docs/site/clients.md");

const withCommand = (command: string) => ({ command });

export const codingAgents: readonly CodingAgent[] = [
  {
    name: "Claude Code",
    package: "@anthropic-ai/claude-code",
    version: "2.1.332",
    recipe: "Claude Code",
    tool: "Bash",
    input: (command) => ({ command, description: "Write a file" }),
    flags: "--allowedTools Bash",
  },
  {
    name: "Codex",
    package: "@openai/codex",
    version: "0.171.0",
    recipe: "Codex",
    file: { language: "toml", home: ".codex/config.toml" },
    tool: "exec_command",
    input: (cmd) => ({ cmd }),
    flags: "--dangerously-bypass-approvals-and-sandbox",
  },
  {
    name: "opencode, chat completions",
    package: "opencode-ai",
    version: "1.18.33",
    recipe: "opencode",
    file: { language: "json", project: "opencode.json" },
    tool: "bash",
    input: (command) => ({ command, description: "Write a file" }),
  },
  {
    name: "opencode, messages",
    package: "opencode-ai",
    version: "1.18.33",
    recipe: "opencode",
    file: { language: "json", project: "opencode.json" },
    replacement: ["quota/gpt-5-mini", "quota-claude/claude-haiku-4-5"],
    tool: "bash",
    input: (command) => ({ command, description: "Write a file" }),
  },
  {
    name: "Continue",
    package: "@continuedev/cli",
    version: "1.5.47",
    recipe: "Continue",
    file: { language: "yaml", project: "config.yaml" },
    tool: "Bash",
    input: withCommand,
    flags: "--auto",
  },
  {
    name: "Cline",
    package: "cline",
    version: "3.0.65",
    recipe: "Cline",
    tool: "run_commands",
    input: (command) => ({ commands: [command] }),
  },
  {
    name: "Qwen Code",
    package: "@qwen-code/qwen-code",
    version: "0.24.4",
    recipe: "Qwen Code",
    tool: "run_shell_command",
    input: (command) => ({ command, description: "Write a file", is_background: false }),
    flags: "--yolo",
  },
  {
    name: "pi",
    package: "@mariozechner/pi-coding-agent",
    version: "0.73.1",
    recipe: "pi",
    file: { language: "json", home: ".pi/agent/models.json" },
    tool: "bash",
    input: withCommand,
  },
  { name: "Grok CLI", package: "@vibe-kit/grok-cli", version: "0.0.34", recipe: "Grok CLI", tool: "bash", input: withCommand },
];

export type Recipe = { file: string | undefined; command: string };

/** Reads an agent's recipe, its file and its command, from docs/site/clients.md. Throws when either is missing. */
export function recipeOf({ recipe, file }: Pick<CodingAgent, "recipe" | "file">): Recipe {
  const section = readFileSync(page, "utf8")
    .split(/^## /m)
    .find((part) => part.startsWith(`${recipe}\n`));
  const fences = [...(section ?? "").matchAll(/^```(\S+.*)\n([\s\S]*?)^```$/gm)];
  const textIn = (language: string) => fences.find(([, info]) => readFence(info ?? "").language === language)?.[2];
  const command = textIn("sh");
  const text = file === undefined ? undefined : textIn(file.language);
  if (command === undefined || (file !== undefined && text === undefined))
    throw new Error(`docs/site/clients.md has no recipe of ${recipe}`);
  return { file: text, command };
}
