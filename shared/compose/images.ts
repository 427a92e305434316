/** The images of a Compose file, where no Compose is at hand to say what they are. */
import type { StackEnv } from '../messages/stack.ts';
import { interpolate } from './interpolate.ts';
import { readYaml } from './yaml.ts';

export interface StackImage {
  readonly reference: string;
  readonly platform: string | undefined;
}

export interface StackImages {
  readonly images: readonly StackImage[];
  /** Whether those are all that there are: what some values come to only Compose knows. */
  readonly isAll: boolean;
}

/** Those of a file that was checked, each once. */
export function imagesOf(compose: string, env: StackEnv): StackImages {
  const { services } = readYaml(compose, 'the Compose file').value as {
    services: Record<string, { image?: unknown; platform?: unknown } | null>;
  };
  const images = new Map<string, StackImage>();
  let isAll = true;
  for (const service of Object.values(services)) {
    const { image, platform } = service ?? {};
    const reference = typeof image === 'string' ? interpolate(image, env) : undefined;
    const on = typeof platform === 'string' ? interpolate(platform, env) : undefined;
    if (reference === undefined || reference === '' || (platform !== undefined && on === undefined)) isAll = false;
    else images.set(`${reference} ${on}`, { reference, platform: on });
  }
  return { images: [...images.values()], isAll };
}
