// Aligned memory that is released with its owner.
#pragma once

#include <cstddef>
#include <new>

namespace rankconv {

template <typename T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::ptrdiff_t items)
        : data_(static_cast<T*>(::operator new(static_cast<std::size_t>(items > 0 ? items : 1) *
                                                   sizeof(T),
                                               std::align_val_t{64}))) {}
    ~Buffer() { release(); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    Buffer& operator=(Buffer&& other) noexcept {
        if (this != &other) {
            release();
            data_ = other.data_;
            other.data_ = nullptr;
        }
        return *this;
    }
    T* get() const { return data_; }

  private:
    void release() {
        if (data_ != nullptr) ::operator delete(data_, std::align_val_t{64});
    }
    T* data_ = nullptr;
};

}  // namespace rankconv
