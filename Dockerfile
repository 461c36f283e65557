# nginx's own image with the module, which it loads:
#
#   docker build --build-arg NGINX_VERSION=1.28.0 -t nginx-authgear .
#
# The steps that build are tools/build-for.sh, which needs no Docker.
ARG NGINX_VERSION=1.28.0
ARG RUST_VERSION=1.95

# The older of the two Debians that nginx's images are made of: what is linked
# with its libc runs on the newer one too.
FROM rust:${RUST_VERSION}-bookworm AS build
ARG NGINX_VERSION
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev libpcre2-dev zlib1g-dev
ADD https://nginx.org/download/nginx-${NGINX_VERSION}.tar.gz /nginx.tar.gz
RUN mkdir /nginx && tar -x -f /nginx.tar.gz -C /nginx --strip-components=1
COPY . /module
RUN CARGO_TARGET_DIR=/target /module/tools/build-for.sh /nginx /out
RUN /module/tools/components.pl licences >/out/THIRD-PARTY-LICENCES.txt

FROM nginx:${NGINX_VERSION}
COPY --from=build /out/ngx_http_authgear_module.so /usr/lib/nginx/modules/
COPY --from=build /out/THIRD-PARTY-LICENCES.txt /usr/share/doc/ngx_http_authgear_module/
COPY nginx-conf/authgear_resolver.conf /etc/nginx/
RUN sed -i '1i load_module /usr/lib/nginx/modules/ngx_http_authgear_module.so;' /etc/nginx/nginx.conf && nginx -t
