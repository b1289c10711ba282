-- Removes a record of which nobody knows what has become, and tells everybody. KEYS: the record, the
-- generation. ARGV: generation, channel, message. Answers 1, or -1 (another generation).
if (tonumber(redis.call('GET', KEYS[2])) or 0) ~= tonumber(ARGV[1]) then
  return -1
end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
