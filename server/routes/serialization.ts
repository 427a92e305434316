/** How Fastify writes answers: by their schemas, each of which is compiled when the first answer needs it. */
import serializers from '@fastify/fast-json-stringify-compiler';

/** Fastify's own compiler, put off: to compile the schemas of all routes takes longer than all else of the API's start. */
export const lazySerializers: serializers.SerializerFactory = (sharedSchemas, options) => {
  const compile = serializers.SerializerSelector()(sharedSchemas, options);
  return (route) => {
    let write: serializers.Serializer | undefined;
    return (answer) => {
      write ??= compile(route);
      return write(answer);
    };
  };
};
