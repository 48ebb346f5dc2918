"use client";

import { type ChangeEvent, useId, useRef, useState } from "react";
import { AppTile } from "./app-tile.tsx";
import { Button } from "./button.tsx";

type Props = { name: string; value: string | null; onChange: (logo: string | null) => void; mostBytes: number; error?: string | undefined };

/** A picture from the user's device, scaled down in the browser, so that the server does not decode pictures. */
export function LogoField({ name, value, onChange, mostBytes, error }: Props) {
  const input = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<string>();
  const id = useId();
  const shown = problem ?? error;

  async function choose(event: ChangeEvent<HTMLInputElement>) {
    const [file] = event.target.files ?? [];
    // Choosing the same file again fires a change event only from an empty value.
    event.target.value = "";
    if (file === undefined) return;
    const logo = await small(file, mostBytes).catch(() => null);
    setProblem(logo === null ? "This file can’t be read as a picture. Choose a PNG, JPEG or WebP." : undefined);
    if (logo !== null) onChange(logo);
  }

  return (
    <div>
      <label htmlFor={id} className="mb-1.5 block text-sm font-medium">
        Logo <span className="font-normal text-soft">(optional)</span>
      </label>
      <div className="flex flex-wrap items-center gap-3">
        <AppTile name={name === "" ? "?" : name} logoUrl={value} />
        <input
          ref={input}
          id={id}
          type="file"
          accept="image/png,image/jpeg,image/webp"
          onChange={choose}
          aria-describedby={`${id}-hint`}
          aria-invalid={shown === undefined ? undefined : true}
          className="peer sr-only"
        />
        <Button
          size="small"
          tabIndex={-1}
          aria-hidden="true"
          onClick={() => input.current?.click()}
          className="peer-focus-visible:outline-2 peer-focus-visible:outline-offset-2 peer-focus-visible:outline-accent"
        >
          Choose a picture
        </Button>
        {value !== null && (
          <Button
            size="small"
            kind="quiet"
            onClick={() => {
              setProblem(undefined);
              onChange(null);
            }}
          >
            Remove logo
          </Button>
        )}
      </div>
      <p id={`${id}-hint`} className="mt-1.5 text-sm leading-5 text-soft">
        {shown !== undefined && (
          <span role="alert" className="block text-danger">
            {shown}
          </span>
        )}
        A square works best. It is made small on this device and comes with our pages.
      </p>
    </div>
  );
}

const SIDE = 128;

/** A square from the middle, as a data: address of at most `mostBytes`. Throws when the file is no picture. */
async function small(file: File, mostBytes: number): Promise<string> {
  const picture = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  canvas.width = SIDE;
  canvas.height = SIDE;
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("no canvas");
  const side = Math.min(picture.width, picture.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  picture.close();
  // A browser without a WebP encoder returns PNG from toDataURL.
  for (const quality of [0.9, 0.7, 0.4]) {
    const address = canvas.toDataURL("image/webp", quality);
    if (bytesOf(address) <= mostBytes) return address;
  }
  // A PNG of a noisy picture may be too large; JPEG is small for any picture.
  return canvas.toDataURL("image/jpeg", 0.6);
}

function bytesOf(address: string): number {
  return ((address.length - address.indexOf(",") - 1) * 3) / 4;
}
